import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Reading, read } from '../helpers/readers.js'
import { factsOf, type ManifestFacts } from './facts.js'
import { figure } from './figure.js'
import { HOST, Mirror } from './mirror.js'
import { observer, stageFolder } from './stage.js'
import { ClientTally } from './tally.js'
import type { Tools } from './tools.js'
import { contentFolders, Upstreams } from './upstreams.js'

const MINUTES = 60
const MINUTE_MS = 700
const TAGS = ['1.0', '1.1', '2.0', 'latest']
const BLOCK = 4096

/** An hour of mixed traffic, a minute of it in 0.7 s. */
describe('/stats after an hour of mixed traffic', () => {
  let folder: string
  let upstreams: Upstreams<'hub' | 'ghcr'>
  let mirror: Mirror
  let skopeo: Tools['skopeo']
  const tally = new ClientTally()
  /** Digest to size of what was fetched. */
  const blobs = new Map<string, number>()
  const manifests = new Map<string, number>()

  beforeAll(async () => {
    folder = await stageFolder('stats')
    const { main, ghcr } = contentFolders(inject('root'))
    upstreams = await Upstreams.start(join(folder, 'upstreams'), { hub: main, ghcr })
    skopeo = (await observer(folder)).skopeo
    mirror = await startMirror()
  })
  afterAll(async () => {
    await mirror.stop()
    await upstreams.stop()
  })

  const startMirror = () =>
    Mirror.start({
      folder,
      registries: {
        'docker.io': { upstreams: [upstreams.entry('hub', 'origin')], tags: { ttl: '0s' }, negativeTtl: '0s' },
        'ghcr.io': { upstreams: [upstreams.entry('ghcr', 'origin')], tags: { ttl: '1h' } },
      },
    })

  const stats = async () => JSON.parse((await read(`${mirror.url}/stats`)).text)

  async function get(
    registry: string,
    repository: string,
    path: string,
    headers?: Record<string, string>,
  ): Promise<Reading> {
    const reading = await read(`${mirror.url}/v2/${repository}/${path}?ns=${registry}`, headers)
    tally.add(registry, repository, reading)
    return reading
  }

  async function getManifest(registry: string, repository: string, tag: string): Promise<Reading> {
    const reading = await get(registry, repository, `manifests/${tag}`)
    if (reading.status === 200) manifests.set(reading.digest, reading.bytes)
    return reading
  }

  async function pull(registry: string, repository: string, tag: string): Promise<void> {
    const { text } = await getManifest(registry, repository, tag)
    const { config, layers } = JSON.parse(text) as { config: { digest: string }; layers: { digest: string }[] }
    for (const { digest } of [config, ...layers]) {
      const { bytes } = await get(registry, repository, `blobs/${digest}`)
      blobs.set(digest, bytes)
    }
  }

  async function together(repository: string, { digest, size }: ManifestFacts['layers'][number]): Promise<void> {
    await Promise.all(Array.from({ length: 4 }, () => get('docker.io', repository, `blobs/${digest}`)))
    blobs.set(digest, size)
  }

  async function minute(
    now: number,
    layers: ManifestFacts['layers'],
    large: ManifestFacts['layers'][number],
  ): Promise<void> {
    await pull('docker.io', 'library/versions', TAGS[now % TAGS.length]!)
    if (now % 5 === 0) await together(`library/twenty-${now / 5 + 1}`, layers[now / 5]!)
    if (now % 6 === 1)
      await get('docker.io', 'library/large', `blobs/${large.digest}`, { range: `bytes=${now * 1000}-${now * 2000}` })
    if (now % 7 === 0) await get('docker.io', 'library/absent', `manifests/v${now}`)
    if (now % 9 === 0) await pull('ghcr.io', 'acme/tool', 'v1')
    if (now % 10 === 0) await fetch(`${mirror.url}/v2/library/versions/manifests/latest`, { method: 'HEAD' })
    if (now % 12 === 0) await read(`${mirror.url}/v2/local/pushed/manifests/v1`)
  }

  /** Bytes of content that the upstreams sent, by registry, as the proxies before them saw it. */
  const fromUpstream = () => ({ 'docker.io': contentBytes('hub'), 'ghcr.io': contentBytes('ghcr') })
  const contentBytes = (name: 'hub' | 'ghcr') =>
    upstreams
      .get(name)
      .proxy.asked.filter(({ line, status }) => line.startsWith('GET') && status < 300)
      .reduce((sum, { bytes }) => sum + bytes, 0)
  const answered = (name: 'hub' | 'ghcr') =>
    upstreams.get(name).proxy.asked.filter(({ status }) => status !== 401).length

  test('equals the own counters of those who asked, field by field', async () => {
    const hub = upstreams.get('hub').registry.host
    const layers = await Promise.all(
      Array.from({ length: 12 }, async (_, n) => (await factsOf(skopeo, `${hub}/library/twenty-${n + 1}`)).layers[0]!),
    )
    const large = (await factsOf(skopeo, `${hub}/library/large`)).layers[0]!
    // Random bytes that nothing else here has: what is pushed and fetched alike counts as pushed.
    await skopeo(
      'copy',
      '--src-tls-verify=false',
      '--dest-tls-verify=false',
      `docker://${hub}/library/medium`,
      `docker://${HOST}/local/pushed:v1`,
    )
    const pushed = await factsOf(skopeo, `${hub}/library/medium`)
    const manifest = (await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${hub}/library/medium`)).stdout
    const config = (await read(`${mirror.url}/v2/local/pushed/blobs/${pushed.config}`)).bytes

    for (let now = 0; now < MINUTES; now++) await Promise.all([minute(now, layers, large), sleep(MINUTE_MS)])
    blobs.set(large.digest, large.size)
    // The range was of a download that goes on by itself.
    await expect.poll(async () => (await stats()).cache.fills, { timeout: 20_000 }).toBe(blobs.size)
    const seen = await stats()

    const onDisk = [...blobs.values()].reduce((sum, bytes) => sum + Math.ceil(bytes / BLOCK) * BLOCK, 0)
    const manifestsOnDisk = [...manifests.values()].reduce(
      (sum, bytes) => sum + (Math.ceil(bytes / BLOCK) + 1) * BLOCK,
      0,
    )
    const pushedBytes = pushed.layers[0]!.size + config + Buffer.byteLength(manifest)
    const { since, uptimeSeconds, upstreams: asked, ...document } = seen
    expect(document).toEqual({
      ...tally.document(fromUpstream()),
      cache: {
        blobs: blobs.size,
        manifests: manifests.size,
        sizeBytes: onDisk + manifestsOnDisk,
        maxSizeBytes: 20 * 1024 ** 3,
        evictions: 0,
        evictedBytes: 0,
        fills: blobs.size,
      },
      local: {
        repositories: 1,
        tags: 1,
        sizeBytes: pushedBytes,
        pushes: { blobs: 2, manifests: 1, bytes: pushedBytes },
        deletes: 0,
      },
    })
    expect(asked).toMatchObject([
      {
        registry: 'docker.io',
        name: 'hub',
        role: 'origin',
        state: 'up',
        requests: answered('hub'),
        errors: 0,
        bytes: contentBytes('hub'),
      },
      {
        registry: 'ghcr.io',
        name: 'ghcr',
        role: 'origin',
        state: 'up',
        requests: answered('ghcr'),
        errors: 0,
        bytes: contentBytes('ghcr'),
      },
    ])
    expect(Math.abs(Date.now() - Date.parse(since) - uptimeSeconds * 1000)).toBeLessThan(2500)
    expect(createHash('sha256').update(manifest).digest('hex')).toBe(pushed.digest.slice('sha256:'.length))
    figure('stats: requests of the scripted hour', document.requests.total)
    figure('stats: hit ratio', document.hitRatio)
    figure('stats: bytes saved', document.bytes.saved, 'B')
  })

  test('counts stale answers and errors while nobody answers, and survives a restart', async () => {
    const upstreamBytes = fromUpstream()
    await upstreams.stop()

    for (const tag of TAGS) await getManifest('docker.io', 'library/versions', tag)
    await get('docker.io', 'library/absent', 'manifests/v0')
    const before = await stats()
    await mirror.stop()
    mirror = await startMirror()
    const after = await stats()

    const expected = tally.document(upstreamBytes)
    expect(expected.requests.stale).toBe(TAGS.length)
    const { requests, bytes, registries } = expected
    expect(before).toMatchObject({ requests, bytes, registries })
    const { uptimeSeconds: _, upstreams: _upstreams, ...kept } = after
    expect(before).toMatchObject(kept)
  })
})
