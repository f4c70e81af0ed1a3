import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { read } from '../helpers/readers.js'
import { Dockerd } from './dockerd.js'
import { factsOf, type ManifestFacts } from './facts.js'
import { figure } from './figure.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder } from './stage.js'
import { contentFolders, Upstreams } from './upstreams.js'
import { dropPackets, WORLD } from './world.js'

const CONNECT_LIMIT_S = 2

describe('A line on which packets to the Hub are dropped', () => {
  let folder: string
  let upstreams: Upstreams<'hub' | 'nju' | 'ustc'>
  let lagging: Upstreams<'replica'>
  let mirror: Mirror
  let dockerd: Dockerd
  let unblock: (() => Promise<void>) | undefined
  let known: ManifestFacts

  beforeAll(async () => {
    folder = await stageFolder('blocked-hub')
    const { main, lagging: old } = contentFolders(inject('root'))
    upstreams = await Upstreams.start(join(folder, 'upstreams'), { hub: main, nju: main, ustc: main })
    lagging = await Upstreams.start(join(folder, 'lagging'), { replica: old })
    const { skopeo } = await observer(folder)
    known = await factsOf(skopeo, `${upstreams.get('hub').registry.host}/library/moving`)
    mirror = await startMirror()
    dockerd = await Dockerd.start({ ...WORLD.dockerA, folder: join(folder, 'docker'), mirror: HOST })
    await dockerd.docker('pull', 'moving')
    // Started anew, so that no connection to the Hub is left from before.
    await mirror.stop()
    unblock = await dropPackets(upstreams.get('hub').proxy.port)
    mirror = await startMirror()
  })

  afterAll(async () => {
    await unblock?.()
    await dockerd.stop()
    await mirror.stop()
    await upstreams.stop()
    await lagging.stop()
  })

  const startMirror = () =>
    Mirror.start({ folder, registries: hubRegistries(upstreams), timeouts: { connect: `${CONNECT_LIMIT_S}s` } })

  async function pullSeconds(image: string): Promise<number> {
    const startedAt = performance.now()
    await dockerd.docker('pull', image)
    return (performance.now() - startedAt) / 1000
  }

  test('costs the first pull of an unknown image one connect timeout, and the next ones nothing', async () => {
    const first = await pullSeconds('unknown-1')
    const next = await pullSeconds('unknown-2')

    figure('docker pull of an unknown image, Hub dropped, first', first, 's')
    figure('docker pull of an unknown image, Hub dropped, next', next, 's')
    expect(first).toBeLessThan(CONNECT_LIMIT_S + 2)
    expect(next).toBeLessThan(CONNECT_LIMIT_S)
  })

  test('a mirror that lags does not take a known tag back', async () => {
    for (const name of ['nju', 'ustc'] as const) {
      upstreams.get(name).proxy.target = lagging.get('replica').registry.url
    }

    const answer = await read(`${mirror.url}/v2/library/moving/manifests/latest`)
    await dockerd.docker('pull', 'moving')

    expect(answer).toMatchObject({ status: 200, digest: known.digest, cache: 'stale' })
    expect(await dockerd.inspect('moving', '{{.Id}}')).toBe(known.config)
  })
})
