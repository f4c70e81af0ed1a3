import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'

const MINUTE = 60_000
const APP = 'library/app'

let hub: BuiltInUpstream
let clock: { now: number }
beforeEach(async () => {
  hub = await startUpstream()
  clock = { now: Date.UTC(2030, 0, 1) }
})
afterEach(closeAll)

function start({
  prefetch = {},
  maxSize = '1GiB',
  storage,
}: {
  prefetch?: object
  maxSize?: string
  storage?: string
}): Promise<Mirror> {
  return startMirror({
    registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    settings: { prefetch: { ...prefetch }, storage: { maxSize } },
    now: () => clock.now,
    ...(storage ? { storage } : {}),
  })
}

const tag = (name: string) => `GET /v2/${APP}/manifests/${name}`
const blob = (digest: string) => `GET /v2/${APP}/blobs/${digest}`
/** What is in part files. */
async function partBytes(storage: string): Promise<number> {
  const folder = join(storage, 'data', 'fills')
  const sizes = (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size)
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}
const fills = async (mirror: Mirror) => (await mirror.stats()).cache.fills

describe('a GET of a manifest', () => {
  test('by default fetches nothing but what was asked for', async () => {
    const mirror = await start({})
    const { layers } = hub.addImage(APP, 'latest', { layers: [1000, 2000, 3000] })
    await mirror.manifest(APP, 'latest')

    await mirror.blob(APP, layers[1]!)

    expect(hub.asked).toEqual([tag('latest'), blob(layers[1]!)])
  })

  test('has its config and layers fetched ahead, in order, once, and for no client in the statistics', async () => {
    const mirror = await start({ prefetch: { blobs: true, concurrency: 1 } })
    const { config, layers } = hub.addImage(APP, 'latest', { layers: [100_000, 200_000, 1000, 1000] })
    await mirror.manifest(APP, 'latest')
    await expect.poll(() => fills(mirror)).toBe(5)
    const { requests, bytes } = await mirror.stats()

    const got = await Promise.all(layers.map((digest) => mirror.blob(APP, digest)))

    expect(hub.asked).toEqual([tag('latest'), ...[config, ...layers].map(blob)])
    expect(got.map(({ digest }) => digest)).toEqual(layers)
    expect(new Set(got.map(({ headers }) => headers['x-cache']))).toEqual(new Set(['hit']))
    expect(requests).toMatchObject({ total: 1, miss: 1 })
    expect(bytes.fromUpstream).toBeGreaterThan(300_000)
  })

  test.each([
    ['a HEAD of it', {}, 'HEAD' as const],
    ['one that answers 304', { 'if-none-match': '*' }, 'GET' as const],
  ])('%s has nothing fetched ahead', async (_case, headers, method) => {
    const mirror = await start({ prefetch: { blobs: true } })
    hub.addImage(APP, 'latest', { layers: [1000, 2000] })
    const other = hub.addBlob(1000)
    await mirror.get(`/v2/${APP}/manifests/latest`, headers, method)

    await mirror.blob(APP, other)

    expect(hub.asked).toEqual([tag('latest'), blob(other)])
  })

  test('of an index has the manifests of the platforms in use and their layers fetched ahead, and no others', async () => {
    const mirror = await start({ prefetch: { blobs: true } })
    const images = (...names: string[]) =>
      Object.fromEntries(
        names.map((architecture) => [architecture, hub.addImage(APP, undefined, { layers: [1000], architecture })]),
      )
    const old = images('amd64', 'arm64', 's390x')
    hub.addIndex(APP, 'old', old)
    const fresh = images('amd64', 'arm64', 's390x')
    hub.addIndex(APP, 'fresh', fresh)

    await mirror.manifest(APP, 'old')
    await mirror.manifest(APP, old.arm64!.manifest)
    await expect.poll(() => fills(mirror)).toBe(2)
    const before = [...hub.asked]
    await mirror.manifest(APP, 'fresh')
    await expect.poll(() => fills(mirror)).toBe(4)

    const asked = ({ manifest, config, layers }: (typeof old)[string]) => [
      tag(manifest),
      ...[config, ...layers].map(blob),
    ]
    expect(before.toSorted()).toEqual([tag('old'), ...asked(old.arm64!)].toSorted())
    expect(hub.asked.slice(before.length).toSorted()).toEqual([tag('fresh'), ...asked(fresh.arm64!)].toSorted())
  })

  test('does not have blobs of more than a quarter of the cache fetched ahead', async () => {
    const mirror = await start({ prefetch: { blobs: true, concurrency: 1 }, maxSize: '4MB' })
    const { config, layers } = hub.addImage(APP, 'latest', { layers: [1_000_001, 1_000_000] })

    await mirror.manifest(APP, 'latest')
    await expect.poll(() => fills(mirror)).toBe(2)

    expect(hub.asked).toEqual([tag('latest'), blob(config), blob(layers[1]!)])
  })
})

describe('what is fetched ahead', () => {
  test('is joined by a client that asks for it', async () => {
    const mirror = await start({ prefetch: { blobs: true } })
    const { layers } = hub.addImage(APP, 'latest', { layers: [300_000] })
    // Three seconds for the layer, or until the client has joined it.
    hub.bytesPerSecond = 100_000
    await mirror.manifest(APP, 'latest')
    await expect.poll(() => hub.asked, { interval: 10 }).toContain(blob(layers[0]!))

    const joining = mirror.blob(APP, layers[0]!)
    await mirror.stats()
    hub.bytesPerSecond = undefined

    expect(await joining).toMatchObject({ digest: layers[0], headers: { 'x-cache': 'join' } })
    expect(hub.count(/\/blobs\//)).toBe(2)
  })

  test('waits while clients need the line', async () => {
    const mirror = await start({ prefetch: { blobs: true, clientDownloads: 1 } })
    const image = hub.addImage(APP, 'latest', { layers: [1000, 2000] })
    const big = hub.addBlob(200_000)
    const sentBefore: number[] = []
    hub.fault = ({ path }) => {
      const sent = hub.requests.find((each) => each.path.endsWith(big))!.bytesSent
      if (path.includes('/blobs/') && !path.endsWith(big)) sentBefore.push(sent)
      return undefined
    }
    hub.bytesPerSecond = 400_000
    const pulling = mirror.blob(APP, big)
    await expect.poll(() => hub.asked, { interval: 10 }).toContain(blob(big))

    await mirror.manifest(APP, 'latest')
    await pulling
    await expect.poll(() => fills(mirror)).toBe(4)

    expect(sentBefore).toEqual([200_000, 200_000, 200_000])
    expect(hub.asked.slice(2).toSorted()).toEqual([image.config, ...image.layers].map(blob).toSorted())
  })

  test('and could not be had costs the client who asks for it nothing', async () => {
    const mirror = await start({ prefetch: { blobs: true } })
    const layer = randomBytes(1000)
    const digest = digestOf(layer)
    const body = { schemaVersion: 2, layers: [{ mediaType: 'application/octet-stream', digest, size: 1000 }] }
    hub.addManifest(APP, body, { mediaType: 'application/vnd.oci.image.manifest.v1+json', tags: ['latest'] })
    await mirror.manifest(APP, 'latest')
    await expect.poll(() => mirror.log.some(({ msg }) => msg === 'blob not cached')).toBe(true)
    hub.addBlob(layer)

    expect(await mirror.blob(APP, digest)).toMatchObject({ status: 200, digest })
  })

  test('is no more than what has begun once the server is stopping, though clients are still served', async () => {
    const mirror = await start({ prefetch: { blobs: true, concurrency: 1 } })
    const { config, layers } = hub.addImage(APP, 'latest', { layers: [500_000, 1000] })
    const big = hub.addBlob(600_000)
    hub.bytesPerSecond = 300_000
    const pulling = mirror.blob(APP, big)
    await mirror.manifest(APP, 'latest')
    await expect.poll(() => hub.asked, { interval: 10 }).toContain(blob(layers[0]!))

    await mirror.close()

    expect(await pulling).toMatchObject({ status: 200, digest: big })
    expect(hub.asked.toSorted()).toEqual([tag('latest'), ...[big, config, layers[0]!].map(blob)].toSorted())
  })

  test('goes on after a restart where the stop has ended it', async () => {
    const storage = await mkdtemp(join(tmpdir(), 'prefetch-'))
    closing({ close: () => rm(storage, { recursive: true, force: true }) })
    const { config, layers } = hub.addImage(APP, 'latest', { layers: [1_000_000, 1000] })
    const first = await start({ prefetch: { blobs: true, concurrency: 1 }, storage })
    hub.fault = ({ path }) => (path.endsWith(layers[0]!) ? { kind: 'stall', after: 400_000 } : undefined)
    await first.manifest(APP, 'latest')
    await expect.poll(() => partBytes(storage), { interval: 10 }).toBeGreaterThan(100_000)
    await first.close()
    const untilStop = [...hub.asked]
    hub.fault = undefined

    const second = await start({ storage })
    const got = await second.blob(APP, layers[0]!)

    expect(new Set(untilStop)).toEqual(new Set([tag('latest'), blob(config), blob(layers[0]!)]))
    expect(got).toMatchObject({ status: 200, digest: layers[0] })
    expect(hub.requests.at(-1)!.range).toMatch(/^bytes=[1-9]\d*-/)
  })
})

describe('a tag that is asked for often', () => {
  const pull = (mirror: Mirror) => mirror.head(`/v2/${APP}/manifests/latest`)

  test('and has moved is fetched with the layers of the platforms in use before the next pull', async () => {
    const mirror = await start({ prefetch: { hotTags: true } })
    const image = (architecture: string) => hub.addImage(APP, undefined, { layers: [1000], architecture })
    const old = { amd64: image('amd64'), arm64: image('arm64') }
    hub.addIndex(APP, 'latest', old)
    await mirror.manifest(APP, 'latest')
    for (let time = 0; time < 2; time++) await pull(mirror)
    await mirror.manifest(APP, old.arm64.manifest)
    const before = hub.asked.length
    const fresh = { amd64: image('amd64'), arm64: image('arm64') }
    const index = hub.addIndex(APP, 'latest', fresh)
    clock.now += 4.6 * MINUTE
    await expect.poll(() => fills(mirror), { timeout: 10_000 }).toBe(2)
    const ahead = hub.asked.slice(before)

    const got = await mirror.manifest(APP, 'latest')
    const layer = await mirror.blob(APP, fresh.arm64.layers[0]!)

    const { manifest, config, layers } = fresh.arm64
    const needed = [tag(index), tag(manifest), ...[config, ...layers].map(blob)]
    expect(ahead.toSorted()).toEqual([`HEAD /v2/${APP}/manifests/latest`, ...needed].toSorted())
    expect(got).toMatchObject({ digest: index, headers: { 'x-cache': 'hit' } })
    expect(layer).toMatchObject({ digest: layers[0], headers: { 'x-cache': 'hit' } })
    expect(hub.asked).toHaveLength(before + ahead.length)
  })
})
