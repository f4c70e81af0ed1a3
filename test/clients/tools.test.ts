import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../helpers/process.js'
import { factsOf } from './facts.js'
import { BUSYBOX } from './images.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder, startDockerHub } from './stage.js'
import { type Tools, tools } from './tools.js'
import { WORLD } from './world.js'

const AT_MIRROR = `docker://${HOST}`
const FROM = '--src-tls-verify=false'
const TO = '--dest-tls-verify=false'

describe('podman, buildah, skopeo and umoci', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let client: Tools
  let skopeo: Tools['skopeo']
  /** What the Hub holds, read there. */
  let hubHas: (image: string) => ReturnType<typeof factsOf>

  beforeAll(async () => {
    folder = await stageFolder('tools')
    upstreams = await startDockerHub(folder)
    mirror = await Mirror.start({ folder, registries: hubRegistries(upstreams) })
    client = await tools({ folder: join(folder, 'client'), netns: WORLD.tools.netns, mirror: HOST })
    skopeo = client.skopeo
    const { skopeo: outside } = await observer(folder)
    hubHas = (image) => factsOf(outside, `${upstreams.get('hub').registry.host}/library/${image}`)
  })

  afterAll(async () => {
    await mirror.stop()
    await upstreams.stop()
  })

  test('podman pulls and runs docker.io/library/hello by the mirror of registries.conf', async () => {
    await client.podman('pull', 'docker.io/library/hello')

    const { stdout } = await client.podman('image', 'inspect', '--format', '{{.Id}}', 'docker.io/library/hello')
    expect(`sha256:${stdout.trim()}`).toBe((await hubHas('hello')).config)
  })

  test('podman pulls the short name, and arm64 of a list', async () => {
    await client.podman('pull', '--platform', 'linux/arm64', 'platforms')

    const { stdout } = await client.podman('image', 'inspect', '--format', '{{.Architecture}}', 'platforms')
    expect(stdout.trim()).toBe('arm64')
  })

  test('podman pushes to a local namespace and pulls it back', async () => {
    await client.podman('push', 'docker.io/library/hello', `${AT_MIRROR}/local/podman:v1`)
    await client.podman('rmi', 'docker.io/library/hello')

    await client.podman('pull', `${HOST}/local/podman:v1`)

    const { stdout } = await client.podman('image', 'inspect', '--format', '{{.Id}}', `${HOST}/local/podman:v1`)
    expect(`sha256:${stdout.trim()}`).toBe((await hubHas('hello')).config)
  })

  test('buildah builds on an image of docker.io and pushes the result', async () => {
    const container = (await client.buildah('from', 'docker.io/library/versions:1.0')).stdout.trim()
    await client.buildah('config', '--label', 'built=here', container)
    await client.buildah('commit', '--tls-verify=false', container, `${AT_MIRROR}/local/built:v1`)

    const { stdout } = await skopeo('inspect', '--tls-verify=false', `${AT_MIRROR}/local/built:v1`)
    expect(JSON.parse(stdout)).toMatchObject({ Labels: { built: 'here', says: '1.0' } })
  })

  test('skopeo inspects and lists tags', async () => {
    const inspected = await skopeo('inspect', '--tls-verify=false', `${AT_MIRROR}/library/hello`)
    const listed = await skopeo('list-tags', '--tls-verify=false', `${AT_MIRROR}/library/versions`)

    expect(JSON.parse(inspected.stdout)).toMatchObject({ Digest: (await hubHas('hello')).digest })
    expect(JSON.parse(listed.stdout)).toMatchObject({ Tags: ['1.0', '1.1', '2.0', 'latest'] })
  })

  test('skopeo copies to dir: and from there to a local namespace, digest unchanged', async () => {
    await skopeo('copy', FROM, `${AT_MIRROR}/library/hello`, `dir:${folder}/hello`)
    await skopeo('copy', TO, `dir:${folder}/hello`, `${AT_MIRROR}/local/hello:v1`)

    expect((await factsOf(skopeo, `${HOST}/local/hello:v1`)).digest).toBe((await hubHas('hello')).digest)
  })

  test('skopeo copies a whole list with --all, from one name of the mirror to another', async () => {
    await skopeo('copy', '--all', FROM, TO, `${AT_MIRROR}/library/platforms`, `${AT_MIRROR}/local/platforms:v1`)

    expect(await factsOf(skopeo, `${HOST}/local/platforms:v1`)).toEqual(await hubHas('platforms:latest'))
  })

  test('skopeo deletes what was pushed', async () => {
    await skopeo('copy', TO, `dir:${folder}/hello`, `${AT_MIRROR}/local/doomed:v1`)

    await skopeo('delete', '--tls-verify=false', `${AT_MIRROR}/local/doomed:v1`)

    await expect(skopeo('inspect', '--tls-verify=false', `${AT_MIRROR}/local/doomed:v1`)).rejects.toThrow(/unknown/i)
  })

  test('umoci unpacks what skopeo copied to oci:, every byte as it was put in', async () => {
    await skopeo('copy', FROM, `${AT_MIRROR}/library/hello`, `oci:${folder}/layout:hello`)
    await run('umoci', ['unpack', '--image', `${folder}/layout:hello`, `${folder}/bundle`])
    await skopeo('copy', TO, `oci:${folder}/layout:hello`, `${AT_MIRROR}/local/from-oci:v1`)

    expect(await sha256Of(`${folder}/bundle/rootfs/bin/busybox`)).toBe(await sha256Of(BUSYBOX))
    expect((await factsOf(skopeo, `${HOST}/local/from-oci:v1`)).layers).toHaveLength(1)
  })

  test('the upstreams saw nobody but the mirror, and nothing of the local namespace', () => {
    const asked = upstreams.proxies.flatMap((proxy) => proxy.asked)

    expect(new Set(asked.map(({ from }) => from))).toEqual(new Set([WORLD.mirror.address]))
    expect(asked.filter(({ line }) => line.includes('/local/'))).toEqual([])
  })
})

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}
