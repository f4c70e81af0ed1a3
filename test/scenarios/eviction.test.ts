import { readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Digest, digestFrom, hasherFor } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024

describe('a cache of 10 MiB', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  beforeEach(async () => {
    hub = await startUpstream()
    mirror = await start()
  })
  afterEach(closeAll)

  const start = (storage?: string) =>
    startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
      settings: { storage: { maxSize: '10MiB', memory: '0B' } },
      ...(storage ? { storage } : {}),
    })

  async function bytesBelow(folder: string): Promise<number> {
    let sum = 0
    for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
      const facts = await stat(join(folder, name)).catch(() => undefined)
      if (facts?.isFile()) sum += facts.size
    }
    return sum
  }

  async function diskBytes(): Promise<number> {
    const root = join(mirror.storage, 'data')
    return (await bytesBelow(join(root, 'blobs'))) + (await bytesBelow(join(root, 'fills')))
  }

  const outcome = async (digest: Digest) => (await mirror.head(`/v2/library/app/blobs/${digest}`)).headers['x-cache']
  const settled = () => expect.poll(diskBytes, { timeout: 5000 }).toBeLessThanOrEqual(10 * MIB)

  test('never outgrows its size by more than what is in flight, and keeps what was pulled last', async () => {
    const blobs = Array.from({ length: 15 }, () => hub.addBlob(2 * MIB))
    let most = 0
    for (const digest of blobs) {
      expect((await mirror.blob('library/app', digest)).digest).toBe(digest)
      most = Math.max(most, await diskBytes())
    }
    await settled()

    expect(most).toBeLessThanOrEqual(12 * MIB)
    expect(await outcome(blobs.at(-1)!)).toBe('hit')
    expect(await outcome(blobs.at(-2)!)).toBe('hit')
    expect(await outcome(blobs[0]!)).toBe('miss')
    const { cache } = await mirror.stats()
    expect(cache.sizeBytes).toBeLessThanOrEqual(10 * MIB)
    expect(cache.evictions).toBeGreaterThanOrEqual(10)
  })

  test('is not overrun by many downloads that end together', async () => {
    const blobs = Array.from({ length: 40 }, () => hub.addBlob(MIB))
    const folder = join(mirror.storage, 'data/blobs')
    let most = 0
    const watch = setInterval(async () => {
      most = Math.max(most, await bytesBelow(folder))
    }, 5)

    const got = await Promise.all(blobs.map((digest) => mirror.blob('library/app', digest)))
    await settled()
    clearInterval(watch)

    expect(got.map(({ digest }) => digest)).toEqual(blobs)
    expect(most).toBeLessThanOrEqual(10 * MIB)
  })

  test('evicts what was used longest ago, not what came first, over a restart too', async () => {
    const [hot, ...cold] = Array.from({ length: 4 }, () => hub.addBlob(2 * MIB)) as [Digest, ...Digest[]]
    for (const digest of [hot, ...cold]) await mirror.blob('library/app', digest)
    // Not asked by HEAD, which would be a use as late as that of the hot one.
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
    await mirror.blob('library/app', hot)
    await mirror.close()
    mirror = await start(mirror.storage)

    for (const digest of [hub.addBlob(2 * MIB), hub.addBlob(2 * MIB)]) await mirror.blob('library/app', digest)

    await expect.poll(() => outcome(cold[0]!)).toBe('miss')
    expect(await outcome(hot)).toBe('hit')
  })

  test('using a manifest uses its layers: an image whose layers clients have already is not evicted as unused', async () => {
    const image = hub.addImage('library/app', 'v1', { layers: [2 * MIB] })
    await mirror.manifest('library/app', 'v1')
    await mirror.blob('library/app', image.layers[0]!)
    const others = Array.from({ length: 3 }, () => hub.addBlob(2 * MIB))
    for (const digest of others) await mirror.blob('library/app', digest)
    await mirror.head('/v2/library/app/manifests/v1')

    await mirror.blob('library/app', hub.addBlob(2 * MIB))

    await expect.poll(() => outcome(others[0]!)).toBe('miss')
    expect(await outcome(image.layers[0]!)).toBe('hit')
  })

  test('leaves alone what is being read', async () => {
    const read = hub.addBlob(3 * MIB)
    await mirror.blob('library/app', read)
    const slow = await request(`${mirror.url}/v2/library/app/blobs/${read}`)

    for (let at = 0; at < 6; at++) await mirror.blob('library/app', hub.addBlob(2 * MIB))
    const hash = hasherFor(read)
    for await (const chunk of slow.body) hash.update(chunk)

    expect(digestFrom(hash)).toBe(read)
  })

  test('passes a blob larger than itself on, uncached, and nothing else has to go for it', async () => {
    const kept = hub.addBlob(2 * MIB)
    await mirror.blob('library/app', kept)
    const large = hub.addBlob(20 * MIB)

    const got = await mirror.blob('library/app', large)

    expect(got).toMatchObject({ status: 200, digest: large })
    expect(await outcome(kept)).toBe('hit')
    await expect.poll(() => outcome(large)).toBe('miss')
    expect(await diskBytes()).toBeLessThan(3 * MIB)
  })

  test.each<[string, (file: string) => Promise<void>]>([
    ['deleted', (file) => rm(file)],
    ['cut short', (file) => truncate(file, 1000)],
  ])('a file %s behind its back is fetched anew', async (_what, damage) => {
    const digest = hub.addBlob(2 * MIB)
    await mirror.blob('library/app', digest)
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
    const hex = digest.slice('sha256:'.length)
    await damage(join(mirror.storage, 'data/blobs/sha256', hex.slice(0, 2), hex))

    const got = await mirror.blob('library/app', digest)

    expect(got).toMatchObject({ status: 200, digest, bytes: 2 * MIB, headers: { 'x-cache': 'miss' } })
  })

  test('a part file that nobody continues is the first to go', async () => {
    const broken = hub.addBlob(4 * MIB)
    hub.fault = ({ range }) => (range ? { kind: 'status', status: 404 } : { kind: 'cut', after: 3 * MIB })
    await mirror.blob('library/app', broken).catch(() => {})
    hub.fault = undefined
    const blobs = Array.from({ length: 4 }, () => hub.addBlob(2 * MIB))

    for (const digest of blobs) await mirror.blob('library/app', digest)

    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
    for (const digest of blobs) expect(await outcome(digest)).toBe('hit')
  })
})
