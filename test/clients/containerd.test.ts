import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { Containerd } from './containerd.js'
import { factsOf } from './facts.js'
import { HOST, Mirror } from './mirror.js'
import { observer, stageFolder } from './stage.js'
import { contentFolders, Upstreams } from './upstreams.js'
import { WORLD } from './world.js'

describe('containerd with hosts.toml, two registries at one address', () => {
  let folder: string
  let upstreams: Upstreams<'hub' | 'ghcr'>
  let mirror: Mirror
  let containerd: Containerd
  let upstreamHas: (name: 'hub' | 'ghcr', image: string) => ReturnType<typeof factsOf>

  beforeAll(async () => {
    folder = await stageFolder('containerd')
    const { main, ghcr } = contentFolders(inject('root'))
    upstreams = await Upstreams.start(join(folder, 'upstreams'), { hub: main, ghcr })
    mirror = await Mirror.start({
      folder,
      registries: {
        'docker.io': { upstreams: [upstreams.entry('hub', 'origin')] },
        'ghcr.io': { upstreams: [upstreams.entry('ghcr', 'origin')] },
      },
    })
    const { skopeo } = await observer(folder)
    upstreamHas = (name, image) => factsOf(skopeo, `${upstreams.get(name).registry.host}/${image}`)
    containerd = await Containerd.start({
      ...WORLD.tools,
      folder: join(folder, 'client'),
      mirror: HOST,
      registries: ['docker.io', 'ghcr.io', 'quay.io'],
    })
  })

  afterAll(async () => {
    await containerd.stop()
    await mirror.stop()
    await upstreams.stop()
  })

  test.each([
    ['hub', 'docker.io', 'library/hello:latest'],
    ['ghcr', 'ghcr.io', 'acme/tool:v1'],
  ] as const)('?ns= leads to %s for %s', async (name, registry, image) => {
    await containerd.pull(`${registry}/${image}`)

    expect(await containerd.digestOf(`${registry}/${image}`)).toBe((await upstreamHas(name, image)).digest)
    const repository = image.split(':')[0]
    expect(upstreams.get(name).proxy.asked.map(({ line }) => line)).toEqual(
      expect.arrayContaining([expect.stringContaining(`/v2/${repository}/blobs/`)]),
    )
  })

  test('the other upstream is never asked for them', () => {
    const askedOf = (name: 'hub' | 'ghcr') => upstreams.get(name).proxy.asked.map(({ line }) => line)

    expect(askedOf('hub').filter((line) => line.includes('acme'))).toEqual([])
    expect(askedOf('ghcr').filter((line) => line.includes('library'))).toEqual([])
  })

  test('both platforms of a list', async () => {
    await containerd.pull('docker.io/library/platforms:latest', '--all-platforms')

    const { stdout } = await containerd.ctr('images', 'ls', 'name==docker.io/library/platforms:latest')
    expect(stdout).toMatch(/linux\/amd64,linux\/arm64/)
  })

  test('the answer to ?ns= names the namespace, and a registry that is not configured is unknown', async () => {
    const known = await fetch(`${mirror.url}/v2/acme/tool/manifests/v1?ns=ghcr.io`)
    const unknown = await fetch(`${mirror.url}/v2/acme/tool/manifests/v1?ns=quay.io`)

    expect([known.status, known.headers.get('oci-namespace')]).toEqual([200, 'ghcr.io'])
    expect(unknown.status).toBe(404)
    expect(await unknown.json()).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] })
    await known.body?.cancel()
  })

  test('ctr pushes to a local namespace and pulls it back', async () => {
    await containerd.ctr('images', 'tag', 'ghcr.io/acme/tool:v1', `${HOST}/local/tool:v1`)
    await containerd.ctr('images', 'push', '--plain-http', `${HOST}/local/tool:v1`)
    await containerd.ctr('images', 'rm', `${HOST}/local/tool:v1`)

    await containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', 'native', `${HOST}/local/tool:v1`)

    const pushed = await upstreamHas('ghcr', 'acme/tool:v1')
    expect(await containerd.digestOf(`${HOST}/local/tool:v1`)).toBe(pushed.digest)
  })
})
