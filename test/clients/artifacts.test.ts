import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { read } from '../helpers/readers.js'
import { type GoClients, goClients } from './go-clients.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, stageFolder, startDockerHub } from './stage.js'
import { type Tools, tools } from './tools.js'
import { WORLD } from './world.js'

describe('crane, regctl, oras, helm, and whole multi-arch images', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let client: GoClients
  let debian: Tools
  const file = (name: string) => join(folder, 'client', name)
  const status = async (path: string) => (await read(`${mirror.url}/v2/${path}`)).status

  beforeAll(async () => {
    folder = await stageFolder('artifacts')
    upstreams = await startDockerHub(folder)
    const { 'docker.io': hub } = hubRegistries(upstreams)
    mirror = await Mirror.start({ folder, registries: { 'docker.io': { ...hub, attach: true } } })
    client = await goClients(inject('goClients'), join(folder, 'client'))
    debian = await tools({ folder: join(folder, 'debian'), netns: WORLD.tools.netns, mirror: HOST })
    await client.regctl('registry', 'set', '--tls', 'disabled', HOST)
    await writeFile(file('sbom.json'), '{"sbom":"of the image"}')
    await writeFile(file('signature.json'), '{"signed":"by the test"}')
  })

  afterAll(async () => {
    await mirror.stop()
    await upstreams.stop()
  })

  test('crane pulls through the mirror, pushes, validates and deletes', async () => {
    await client.crane('pull', '--insecure', `${HOST}/library/hello`, 'hello.tar')
    await client.crane('push', '--insecure', 'hello.tar', `${HOST}/local/crane:v1`)

    await client.crane('validate', '--insecure', '--remote', `${HOST}/local/crane:v1`)
    const { stdout } = await client.crane('digest', '--insecure', `${HOST}/local/crane:v1`)
    expect(await status('local/crane/manifests/v1')).toBe(200)

    await client.crane('delete', '--insecure', `${HOST}/local/crane@${stdout.trim()}`)
    expect(await status('local/crane/manifests/v1')).toBe(404)
  })

  test('crane copies a multi-arch image whole, and lists the catalog and the tags', async () => {
    await client.crane('copy', '--insecure', `${HOST}/library/platforms`, `${HOST}/local/platforms:crane`)

    await client.crane('validate', '--insecure', '--remote', `${HOST}/local/platforms:crane`)
    const digests = ['library/platforms:latest', 'local/platforms:crane'].map(
      async (image) => (await client.crane('digest', '--insecure', `${HOST}/${image}`)).stdout,
    )
    expect(await digests[1]).toBe(await digests[0])
    expect((await client.crane('catalog', '--insecure', HOST)).stdout).toContain('local/platforms\n')
    expect((await client.crane('ls', '--insecure', `${HOST}/local/platforms`)).stdout).toBe('crane\n')
  })

  test('skopeo copies every platform, and deletes', async () => {
    const image = `docker://${HOST}/local/skopeo:v1`
    const options = ['--all', '--src-tls-verify=false', '--dest-tls-verify=false']
    await debian.skopeo('copy', ...options, `docker://${HOST}/library/platforms`, image)
    const { stdout } = await debian.skopeo('inspect', '--raw', '--tls-verify=false', image)
    const { manifests } = JSON.parse(stdout) as { manifests: { digest: string }[] }
    expect(manifests).toHaveLength(2)
    for (const { digest } of manifests) expect(await status(`local/skopeo/manifests/${digest}`)).toBe(200)

    await debian.skopeo('delete', '--tls-verify=false', image)
    expect(await status('local/skopeo/manifests/v1')).toBe(404)
  })

  test('buildah pushes a multi-arch image that it made', async () => {
    const { buildah, skopeo } = debian
    await buildah('manifest', 'create', 'both')
    for (const arch of ['amd64', 'arm64']) {
      const container = (await buildah('from', '--arch', arch, 'scratch')).stdout.trim()
      await buildah('config', '--arch', arch, '--label', `made=${arch}`, container)
      await buildah('commit', '--rm', container, `localhost/${arch}`)
      await buildah('manifest', 'add', '--arch', arch, 'both', `localhost/${arch}`)
    }
    await buildah('manifest', 'push', '--all', '--tls-verify=false', 'both', `docker://${HOST}/local/buildah:both`)

    for (const arch of ['amd64', 'arm64']) {
      const image = `docker://${HOST}/local/buildah:both`
      const { stdout } = await skopeo('--override-arch', arch, 'inspect', '--tls-verify=false', image)
      expect(JSON.parse(stdout)).toMatchObject({ Architecture: arch, Labels: { made: arch } })
    }
  })

  test('oras attaches, discovers and pulls', async () => {
    await client.crane('copy', '--insecure', `${HOST}/library/hello`, `${HOST}/local/signed:v1`)
    const subject = `${HOST}/local/signed:v1`
    const attach = (type: string, path: string) =>
      client.oras('attach', '--plain-http', '--artifact-type', type, subject, `${path}:application/json`)
    await attach('application/vnd.example.sbom', 'sbom.json')
    await attach('application/vnd.example.signature', 'signature.json')

    const { stdout } = await client.oras('discover', '--plain-http', '--format', 'json', subject)
    const { referrers } = JSON.parse(stdout) as { referrers: { artifactType: string; digest: string }[] }
    expect(referrers.map(({ artifactType }) => artifactType).sort()).toEqual([
      'application/vnd.example.sbom',
      'application/vnd.example.signature',
    ])
    const sbom = referrers.find(({ artifactType }) => artifactType.endsWith('sbom'))!
    await client.oras('pull', '--plain-http', '--output', 'pulled', `${HOST}/local/signed@${sbom.digest}`)
    expect(sha256(await readFile(file('pulled/sbom.json')))).toBe(sha256(await readFile(file('sbom.json'))))
  })

  test('regctl copies an image with its referrers, and lists them', async () => {
    const [from, to] = [`${HOST}/local/signed:v1`, `${HOST}/local/copied:v1`]
    await client.regctl('image', 'copy', '--referrers', from, to)

    const listed = async (image: string) => {
      const { stdout } = await client.regctl('artifact', 'list', '--format', '{{jsonPretty .}}', image)
      return (JSON.parse(stdout) as { descriptors: { digest: string }[] }).descriptors
        .map(({ digest }) => digest)
        .sort()
    }
    expect(await listed(to)).toHaveLength(2)
    expect(await listed(to)).toEqual(await listed(from))
    expect((await client.regctl('tag', 'ls', `${HOST}/local/copied`)).stdout).toBe('v1\n')
    await client.regctl('tag', 'delete', to)
    expect(await status('local/copied/manifests/v1')).toBe(404)
  })

  test('oras and regctl attach to an image that is mirrored, and each finds what the other has attached', async () => {
    const image = `${HOST}/library/hello`
    const subject = `${image}@${(await client.crane('digest', '--insecure', image)).stdout.trim()}`
    const [sbom, signature] = ['application/vnd.example.sbom', 'application/vnd.example.signature']
    await client.oras('attach', '--plain-http', '--artifact-type', sbom, subject, 'sbom.json:application/json')
    await client.regctl('artifact', 'put', '--artifact-type', signature, '--subject', subject, '-f', 'signature.json')

    const byApi = await client.oras('discover', '--plain-http', '--format', 'json', subject)
    const byTag = ['--distribution-spec', 'v1.1-referrers-tag', '--format', 'json', subject]
    const byRegctl = await client.regctl('artifact', 'list', '--format', '{{jsonPretty .}}', subject)

    for (const { stdout } of [byApi, await client.oras('discover', '--plain-http', ...byTag), byRegctl]) {
      expect(stdout).toContain(sbom)
      expect(stdout).toContain(signature)
    }
    await expect(client.crane('copy', '--insecure', image, `${image}:own`)).rejects.toThrow('DENIED')
    await client.regctl('image', 'copy', '--referrers', subject, `${HOST}/local/hello:v1`)
    const copied = await client.oras('discover', '--plain-http', '--format', 'json', `${HOST}/local/hello:v1`)
    expect(copied.stdout).toContain(signature)
  })

  test('helm pushes a chart and pulls it back', async () => {
    await client.helm('create', 'shop')
    await client.helm('package', 'shop')
    await client.helm('push', 'shop-0.1.0.tgz', `oci://${HOST}/local/charts`, '--plain-http')
    const pushed = sha256(await readFile(file('shop-0.1.0.tgz')))

    await client.helm('pull', `oci://${HOST}/local/charts/shop`, '--version', '0.1.0', '--plain-http', '-d', 'pulled')

    expect(sha256(await readFile(file('pulled/shop-0.1.0.tgz')))).toBe(pushed)
    const shown = await client.helm('show', 'chart', `oci://${HOST}/local/charts/shop`, '--plain-http')
    expect(shown.stdout).toContain('name: shop')
  })
})

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
