import { createHash } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import type { BuiltInUpstream, Fault } from '../../src/doctor/built-in-upstream.js'
import type { Digest } from '../../src/oci/digest.js'
import type { BlobTransfer } from '../../src/upstream/blob-transfer.js'
import type { UpstreamOptions } from '../../src/upstream/registry-client.js'
import type { UpstreamGroup } from '../../src/upstream/upstream-group.js'
import { closeAll, groupOf, REPOSITORY, startUpstream, upstreamOptions, Watch } from '../helpers/upstream.js'

afterEach(closeAll)

const SIZE = 400_000
const HALF = SIZE / 2

/** Two upstreams that hold the same blob. */
async function start(options: { a?: Partial<UpstreamOptions>; b?: Partial<UpstreamOptions> } = {}) {
  const [a, b] = await Promise.all([startUpstream(), startUpstream()])
  const digest = a.addBlob(SIZE)
  b.addBlob(a.blob(digest) as Buffer)
  const watch = new Watch()
  const group = groupOf(
    [
      upstreamOptions(a.url, { name: 'a', role: 'mirror', ...options.a }),
      upstreamOptions(b.url, { name: 'b', role: 'origin', ...options.b }),
    ],
    { watch },
  )
  return { a, b, digest, group, watch }
}

/** Downloads as a fill does: reports what broke, and goes on where it stopped. */
async function download(
  transfer: BlobTransfer,
  signal?: AbortSignal,
): Promise<{ digest: string; size: number; sources: string[] }> {
  const hash = createHash('sha256')
  const sources: string[] = []
  for (let offset = 0; ; ) {
    const stream = await transfer.next(offset, undefined, signal)
    sources.push(stream.upstream)
    try {
      for await (const chunk of stream.body) {
        hash.update(chunk)
        offset += chunk.length
      }
      return { digest: `sha256:${hash.digest('hex')}`, size: offset, sources }
    } catch (error) {
      signal?.throwIfAborted()
      stream.failed(error)
    }
  }
}

/** A fault for each of the first requests, and none for those that follow. */
function inTurn(...faults: Fault[]): BuiltInUpstream['fault'] {
  return () => faults.shift()
}

const ranges = (upstream: BuiltInUpstream) => upstream.requests.map(({ range }) => range)
const stateOf = (group: UpstreamGroup, name: string) => group.states().find((upstream) => upstream.name === name)?.state

describe('a transfer', () => {
  test('takes a blob from the first upstream alone', async () => {
    const { a, b, digest, group } = await start()
    const transfer = group.openTransfer(REPOSITORY, digest)

    expect(await download(transfer)).toEqual({ digest, size: SIZE, sources: ['a'] })
    expect([a.requests.length, b.requests.length]).toEqual([1, 0])
  })

  test('that was cut goes on at the same upstream from where it was', async () => {
    const { a, b, digest, group } = await start()
    a.fault = inTurn({ kind: 'cut', after: HALF })

    expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({ digest, size: SIZE, sources: ['a', 'a'] })
    expect(ranges(a)).toEqual([undefined, `bytes=${HALF}-`])
    expect(b.requests).toEqual([])
  })

  test('that stalled goes on at the next upstream', async () => {
    const { a, b, digest, group } = await start()
    a.fault = inTurn({ kind: 'stall', after: HALF })

    expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({ digest, size: SIZE, sources: ['a', 'b'] })
    expect(ranges(b)).toEqual([`bytes=${HALF}-`])
  })

  test('drops the known bytes of an upstream that ignores the range', async () => {
    const { a, b, digest, group } = await start()
    a.fault = inTurn({ kind: 'stall', after: HALF })
    b.fault = () => ({ kind: 'ignore-range' })

    expect(await download(group.openTransfer(REPOSITORY, digest))).toMatchObject({ digest, size: SIZE })
    expect(b.requests).toMatchObject([{ range: `bytes=${HALF}-`, status: 200, bytesSent: SIZE }])
  })

  test.each<[string, Fault]>([
    ['another range than asked for', { kind: 'shift-range', by: 7 }],
    ['a page', { kind: 'html' }],
    ['an encoding', { kind: 'gzip' }],
    ['403', { kind: 'status', status: 403 }],
    ['404', { kind: 'status', status: 404 }],
    ['429', { kind: 'status', status: 429 }],
    ['503', { kind: 'status', status: 503 }],
    ['a reset connection', { kind: 'reset' }],
    ['silence', { kind: 'hang' }],
  ])('passes over %s in the middle', async (_case, fault) => {
    const { a, b, digest, group } = await start()
    a.fault = inTurn({ kind: 'cut', after: HALF }, fault)

    expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({ digest, size: SIZE, sources: ['a', 'b'] })
    expect(ranges(b)).toEqual([`bytes=${HALF}-`])
  })

  test.each([400, 416])(
    'asks for a range with its end where %i refuses one without, and then elsewhere',
    async (status) => {
      const { a, b, digest, group } = await start()
      const refused: Fault = { kind: 'status', status }
      a.fault = ({ method, range }) => (method === 'GET' && range ? refused : { kind: 'cut', after: HALF })

      expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({
        digest,
        size: SIZE,
        sources: ['a', 'b'],
      })
      expect(ranges(a).filter((range) => range)).toEqual([`bytes=${HALF}-`, `bytes=${HALF}-${SIZE - 1}`])
      expect(ranges(b)).toEqual([`bytes=${HALF}-`])
    },
  )

  test.each([400, 416])(
    'asks for the whole again where nobody has ranges (%i), and drops the known bytes',
    async (status) => {
      const { a, b, digest, group } = await start()
      let cuts = 1
      a.fault = ({ method, range }) => {
        if (method === 'GET' && range) return { kind: 'status', status }
        return cuts-- > 0 ? { kind: 'cut', after: HALF } : undefined
      }
      b.fault = ({ method }) => (method === 'GET' ? { kind: 'status', status: 404 } : undefined)

      expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({
        digest,
        size: SIZE,
        sources: ['a', 'a'],
      })
      expect(a.requests.at(-1)).toMatchObject({ range: undefined, bytesSent: SIZE })
    },
  )

  test.each<[string, Fault]>([
    ['shorter', { kind: 'short' }],
    ['longer', { kind: 'long' }],
  ])('finds a rest that is %s than its range and gets it right elsewhere', async (_case, fault) => {
    const { a, b, digest, group } = await start()
    a.fault = inTurn({ kind: 'stall', after: HALF })
    b.fault = inTurn(fault)

    const { digest: got, size, sources } = await download(group.openTransfer(REPOSITORY, digest))

    expect({ got, size }).toEqual({ got: digest, size: SIZE })
    expect(sources.slice(0, 2)).toEqual(['a', 'b'])
  })

  test('passes over an upstream where the blob has another size', async () => {
    const { a, b, digest, group } = await start()
    const other = { 'content-range': `bytes ${HALF}-${SIZE}/${SIZE + 1}` }
    a.fault = inTurn({ kind: 'cut', after: HALF }, { kind: 'status', status: 206, headers: other, body: 'x' })

    expect(await download(group.openTransfer(REPOSITORY, digest))).toEqual({ digest, size: SIZE, sources: ['a', 'b'] })
    expect(ranges(b)).toEqual([`bytes=${HALF}-`])
  })

  test('without an announced length ends where the body ends', async () => {
    const { a, digest, group } = await start()
    a.fault = () => ({ kind: 'chunked' })
    const transfer = group.openTransfer(REPOSITORY, digest)

    const stream = await transfer.next(0)
    stream.destroy()

    expect(stream.size).toBeUndefined()
    expect(await download(group.openTransfer(REPOSITORY, digest))).toMatchObject({ digest, size: SIZE })
  })

  test('that lied quarantines who gave bytes and is done by the others', async () => {
    const { a, digest, group, watch } = await start()
    a.fault = () => ({ kind: 'flip', at: 10 })
    const transfer = group.openTransfer(REPOSITORY, digest)
    expect((await download(transfer)).digest).not.toBe(digest)

    transfer.lied(['a'])

    expect(await download(transfer)).toEqual({ digest, size: SIZE, sources: ['b'] })
    expect(stateOf(group, 'a')).toBe('quarantined')
    expect(watch.states).toEqual(['a quarantined'])
    expect(a.requests).toHaveLength(1)
  })

  test('that a mirror began wrongly and the origin completed does not cost the origin its word', async () => {
    const { a, digest, group } = await start()
    a.fault = inTurn({ kind: 'flip', at: 5 })
    const transfer = group.openTransfer(REPOSITORY, digest)
    const wrong = await transfer.next(0)
    for await (const _chunk of wrong.body) break
    a.fault = () => ({ kind: 'status', status: 404 })
    const rest = await transfer.next(HALF)
    for await (const _chunk of rest.body);

    transfer.lied(['a', 'b'])

    expect([wrong.upstream, rest.upstream]).toEqual(['a', 'b'])
    expect([stateOf(group, 'a'), stateOf(group, 'b')]).toEqual(['quarantined', 'up'])
    expect(await download(transfer)).toEqual({ digest, size: SIZE, sources: ['b'] })
  })

  test('that all lied to fails with what each said', async () => {
    const { a, b, digest, group } = await start()
    for (const upstream of [a, b]) upstream.fault = () => ({ kind: 'flip', at: 10 })
    const transfer = group.openTransfer(REPOSITORY, digest)
    for (const _upstream of [a, b]) {
      transfer.lied((await download(transfer)).sources)
    }

    const failures = [
      { upstream: 'a', kind: 'lying' },
      { upstream: 'b', kind: 'lying' },
    ]
    await expect(transfer.next(0)).rejects.toMatchObject({ name: 'AllUpstreamsFailedError', failures })
    expect([a.requests.length, b.requests.length]).toEqual([1, 1])
  })

  test('gives up after three failures in a row of each, with pauses between', async () => {
    const { a, b, digest, group } = await start()
    for (const upstream of [a, b]) upstream.fault = () => ({ kind: 'status', status: 503 })
    const beganAt = performance.now()

    const failure = await download(group.openTransfer(REPOSITORY, digest)).catch((error: unknown) => error)

    expect(failure).toMatchObject({ name: 'AllUpstreamsFailedError', failures: [{ kind: 'down' }, { kind: 'down' }] })
    expect([a.requests.length, b.requests.length]).toEqual([3, 3])
    expect(performance.now() - beganAt).toBeGreaterThan(0.75 * 750)
  })

  test('goes on for as long as there is progress, however often it is cut', async () => {
    const { a, digest, group } = await start({ b: { allow: ['nobody/*'] } })
    a.fault = () => ({ kind: 'cut', after: 40_000 })

    const { digest: got, sources } = await download(group.openTransfer(REPOSITORY, digest))

    expect(got).toBe(digest)
    expect(sources).toHaveLength(10)
  })

  test('outlives an upstream that goes away and comes back', async () => {
    const { a, digest, group } = await start({ b: { allow: ['nobody/*'] } })
    a.bytesPerSecond = 2_000_000
    const transfer = group.openTransfer(REPOSITORY, digest)
    const running = download(transfer)
    await expect.poll(() => a.bytesSent, { interval: 5 }).toBeGreaterThan(100_000)

    await a.stop()
    await a.start()

    expect(await running).toMatchObject({ digest, size: SIZE })
  })

  test('of a blob that nobody has fails at once, and the origin’s word is kept', async () => {
    const { a, b, group } = await start()
    const absent = `sha256:${'0'.repeat(64)}` as Digest

    const failure = await download(group.openTransfer(REPOSITORY, absent)).catch((error: unknown) => error)

    expect(failure).toMatchObject({ name: 'AllUpstreamsFailedError', absent: true })
    expect([a.requests.length, b.requests.length]).toEqual([1, 1])
  })

  test('ends with the signal’s reason, which is held against nobody', async () => {
    const { a, digest, group } = await start()
    a.fault = () => ({ kind: 'stall', after: HALF })
    const leaving = new AbortController()
    const running = download(group.openTransfer(REPOSITORY, digest), leaving.signal)
    await expect.poll(() => a.bytesSent, { interval: 5 }).toBe(HALF)

    leaving.abort(new Error('left'))

    await expect(running).rejects.toThrow('left')
    expect(stateOf(group, 'a')).toBe('up')
  })
})
