import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, type Fault, REPOSITORY, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const SIZE = 8 * MIB
/** Too small to be shared out again: on a busy machine any stream may look slow for a while. */
const SEGMENT = 500 * 1024
const SEGMENTS = { size: '500KiB', minBlob: '4MiB', perUpstream: 2 }
/** Per connection: so slow that one stream would take two seconds. */
const SLOW = 4 * MIB

const blobsOf = ({ requests }: BuiltInUpstream) => requests.filter(({ path }) => path.includes('/blobs/'))
const ranges = (upstream: BuiltInUpstream) => blobsOf(upstream).map(({ range }) => range)
const blobBytes = (upstreams: BuiltInUpstream[]) =>
  upstreams.flatMap(blobsOf).reduce((sum, { bytesSent }) => sum + bytesSent, 0)
const onBlobs = (fault: Fault) => (asked: { path: string; method: string }) =>
  asked.path.includes('/blobs/') && asked.method === 'GET' ? fault : undefined

describe('a large blob', () => {
  let upstreams: BuiltInUpstream[]
  let mirror: Mirror
  let content: Buffer
  let layer: string

  beforeEach(async () => {
    content = randomBytes(SIZE)
    upstreams = await Promise.all([0, 1, 2].map(() => startUpstream()))
    for (const upstream of upstreams) {
      upstream.bytesPerSecond = SLOW
      layer = upstream.addImage(REPOSITORY, 'v1', { layers: [content] }).layers[0]!
    }
    mirror = await start()
    await mirror.manifest(REPOSITORY, 'v1')
  })
  afterEach(closeAll)

  const start = (segments: Record<string, unknown> = SEGMENTS, storage?: string, firstByte = '5s') =>
    startMirror({
      registries: {
        'docker.io': registry(
          upstreams.map(({ url }, at) => ({ name: `m${at}`, url, ...(at === 2 ? { role: 'origin' } : {}) })),
        ),
      },
      settings: { upstream: { timeouts: { connect: '500ms', firstByte, idle: '5s' }, segments } },
      ...(storage ? { storage } : {}),
    })

  const pull = () => mirror.blob(REPOSITORY, layer)
  const range = (from: number, to: number) => mirror.blob(REPOSITORY, layer, { range: `bytes=${from}-${to - 1}` })
  const states = async () => (await mirror.stats()).upstreams.map(({ name, state }) => `${name} ${state}`)

  test('comes in parts from every upstream at once, each byte once', async () => {
    for (const upstream of upstreams) upstream.bytesPerSecond = MIB
    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    for (const upstream of upstreams) expect(ranges(upstream).length).toBeGreaterThan(0)
    expect(blobBytes(upstreams) / SIZE).toBeLessThan(1.05)
    expect(await pull()).toMatchObject({ headers: { 'x-cache': 'hit' }, digest: layer })
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
  })

  test('comes in one stream where that is quick, which the first part shows, or where it is not large', async () => {
    const next = randomBytes(SIZE)
    const layers = upstreams.map((upstream) => upstream.addImage(REPOSITORY, 'v2', { layers: [next] }).layers[0]!)
    const small = upstreams[2]!.addBlob(3 * MIB)
    for (const upstream of upstreams) upstream.bytesPerSecond = undefined
    // A first part of which a busy machine does not take more than half a second, as long as the rest may take.
    mirror = await start({ ...SEGMENTS, size: '4MiB' })
    for (const tag of ['v1', 'v2']) await mirror.manifest(REPOSITORY, tag)

    expect(await pull()).toMatchObject({ digest: layer })
    expect(await mirror.blob(REPOSITORY, layers[0]!)).toMatchObject({ digest: layers[0] })
    expect(upstreams.map(ranges)).toEqual([[`bytes=0-${4 * MIB - 1}`, `bytes=${4 * MIB}-`, undefined], [], []])

    for (const upstream of upstreams) upstream.bytesPerSecond = 2 * SLOW
    expect(await mirror.blob(REPOSITORY, small)).toMatchObject({ digest: small })
    expect(blobsOf(upstreams[2]!)).toHaveLength(1)
  })

  test.each<[string, Fault]>([
    ['stands still', { kind: 'stall', after: 200_000 }],
    ['breaks off', { kind: 'cut', after: 200_000 }],
    ['refuses', { kind: 'status', status: 500 }],
    ['has no ranges', { kind: 'ignore-range' }],
    ['sends another range', { kind: 'shift-range', by: 7 }],
  ])('with an upstream that %s costs that one a segment, and nothing is fetched twice', async (_case, fault) => {
    upstreams[1]!.fault = onBlobs(fault)

    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    expect(ranges(upstreams[1]!).length).toBeLessThan(3)
    expect(blobBytes([upstreams[0]!, upstreams[2]!]) / SIZE).toBeLessThan(1.05)
  })

  test('with an upstream that never answers does not wait for it', async () => {
    upstreams[1]!.fault = onBlobs({ kind: 'hang' })
    mirror = await start(SEGMENTS, undefined, '60s')
    await mirror.manifest(REPOSITORY, 'v1')

    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    expect(ranges(upstreams[1]!)).toHaveLength(1)
    expect(blobBytes(upstreams) / SIZE).toBeLessThan(1.05)
  })

  test('whose only good upstream is the last comes from there alone', async () => {
    upstreams[0]!.fault = onBlobs({ kind: 'cut', after: 300_000 })
    upstreams[1]!.fault = onBlobs({ kind: 'stall', after: 300_000 })

    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    expect(blobBytes(upstreams) / SIZE).toBeLessThan(1.1)
  })

  test('with one upstream that lies: the reader is cut off, the next one gets the truth, and only the liar is left out', async () => {
    upstreams[1]!.fault = (asked) =>
      /bytes=\d/.test(asked.range ?? '') ? { kind: 'flip', at: Number(/\d+/.exec(asked.range!)) + 5 } : undefined

    await expect(pull()).rejects.toThrow()
    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    expect(await states()).toEqual(['m0 up', 'm1 quarantined', 'm2 up'])
  })

  test('read from its middle begins there, and the rest is fetched around it, each byte once', async () => {
    const from = 10 * SEGMENT + 12_345

    const got = await range(from, from + 1000)

    expect(got).toMatchObject({ status: 206, digest: digestOf(content.subarray(from, from + 1000)) })
    expect(ranges(upstreams[0]!)[0]).toBe(`bytes=${from}-${11 * SEGMENT - 1}`)
    expect(await pull()).toMatchObject({ status: 200, digest: layer })
    expect(blobBytes(upstreams) / SIZE).toBeLessThan(1.05)
  })

  test('read in 200 places at once costs less than 1.2 of its size', async () => {
    const places = Array.from({ length: 200 }, (_, at) => (at * 7_919_317) % (SIZE - 1000))

    const answers = await Promise.all(places.map((from) => range(from, from + 1000)))

    for (const [at, from] of places.entries())
      expect(answers[at]).toMatchObject({ status: 206, digest: digestOf(content.subarray(from, from + 1000)) })
    expect(await pull()).toMatchObject({ digest: layer })
    expect(blobBytes(upstreams) / SIZE).toBeLessThan(1.2)
  })

  test('read at its end while it is being fetched from its beginning does not wait for what lies between', async () => {
    for (const upstream of upstreams.slice(1)) upstream.fault = onBlobs({ kind: 'status', status: 404 })
    upstreams[0]!.bytesPerSecond = MIB / 2
    const whole = pull()
    await expect.poll(() => blobBytes(upstreams)).toBeGreaterThan(0)

    const got = await range(SIZE - 1000, SIZE - 500)

    expect(got).toMatchObject({ status: 206, digest: digestOf(content.subarray(SIZE - 1000, SIZE - 500)) })
    expect(blobBytes(upstreams)).toBeLessThan(SIZE / 2)
    upstreams[0]!.bytesPerSecond = undefined
    expect(await whole).toMatchObject({ digest: layer })
  })

  test('goes on after a restart with what is missing, wherever that is', async () => {
    const abandoned = await request(`${mirror.url}/v2/${REPOSITORY}/blobs/${layer}`)
    abandoned.body.on('error', () => {})
    await expect.poll(() => blobBytes(upstreams), { interval: 10 }).toBeGreaterThan(SIZE / 2)
    abandoned.body.destroy()
    await mirror.close()
    const before = blobBytes(upstreams)
    expect(await readdir(join(mirror.storage, 'data/fills'))).toHaveLength(2)

    mirror = await start(SEGMENTS, mirror.storage)

    expect(await pull()).toMatchObject({ status: 200, digest: layer })
    // What had left the upstreams and was not written yet when it stopped comes again.
    expect(blobBytes(upstreams) - before).toBeLessThan(SIZE / 2 + MIB)
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
  })

  test('at an upstream that redirects is redirected once', async () => {
    for (const upstream of upstreams.slice(1)) upstream.fault = onBlobs({ kind: 'status', status: 404 })
    const store = await startUpstream()
    store.bytesPerSecond = SLOW
    store.addBlob(content)
    upstreams[0]!.fault = onBlobs({ kind: 'redirect', to: `${store.url}/v2/any/blobs/${layer}` })
    mirror = await start({ ...SEGMENTS, perUpstream: 4 })
    await mirror.manifest(REPOSITORY, 'v1')

    expect(await pull()).toMatchObject({ status: 200, digest: layer })

    expect(blobsOf(upstreams[0]!)).toHaveLength(1)
    // In how many parts is a question of how busy this process is.
    expect(blobsOf(store).length).toBeGreaterThan(1)
  })
})
