import { afterEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../src/doctor/built-in-upstream.js'
import type { BlobTransfer } from '../../src/upstream/blob-transfer.js'
import type { UpstreamOptions } from '../../src/upstream/registry-client.js'
import { closeAll, groupOf, REPOSITORY, startUpstream, upstreamOptions } from '../helpers/upstream.js'

afterEach(closeAll)

const SIZE = 400_000
const signal = new AbortController().signal

/** A transfer from two upstreams that hold the same blob. */
async function start(options: Partial<UpstreamOptions> = {}) {
  const [a, b] = await Promise.all([startUpstream(), startUpstream()])
  const digest = a.addBlob(SIZE)
  b.addBlob(a.blob(digest) as Buffer)
  const group = groupOf([
    upstreamOptions(a.url, { name: 'a', role: 'mirror', ...options }),
    upstreamOptions(b.url, { name: 'b', role: 'origin', ...options }),
  ])
  return { a, b, transfer: group.openTransfer(REPOSITORY, digest), content: a.blob(digest) as Buffer }
}

async function read(stream: Awaited<ReturnType<BlobTransfer['next']>> | undefined): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream!.body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const onRanges = (fault: Fault) => (asked: { range?: string | undefined }) => (asked.range ? fault : undefined)
const part = (upstream: string, from = 0, to = 1000) => ({ from, to, upstream, signal })

describe('a transfer in parts', () => {
  test('names who gives the fewest streams, one of each until it has answered, then as many as are allowed', async () => {
    const { transfer, content } = await start({ segmentsAtOnce: 2 })
    expect([transfer.spare(), transfer.spare('a'), transfer.spare('b')]).toEqual(['a', 'b', 'a'])

    const first = transfer.beside(part('a'))
    expect(transfer.spare()).toBe('b')
    const second = transfer.beside(part('b', 1000, 2000))
    expect(transfer.spare()).toBeUndefined()

    expect(await read(await first)).toEqual(content.subarray(0, 1000))
    expect(transfer.spare()).toBe('a')
    await read(await second)
    for (const _time of [1, 2]) {
      const open = await Promise.all(['a', 'b', 'a', 'b'].map((name) => transfer.beside(part(name))))
      expect(transfer.spare()).toBeUndefined()
      for (const stream of open) stream!.destroy()
      for (const stream of open) stream!.destroy()
      expect(transfer.spare()).toBe('a')
    }
  })

  test.each<[string, Fault]>([
    ['refuses', { kind: 'status', status: 503 }],
    ['sends the whole for a part', { kind: 'ignore-range' }],
    ['sends another part', { kind: 'shift-range', by: 7 }],
  ])('asks one that %s no more beside others, and its place is free', async (_case, fault) => {
    const { a, transfer, content } = await start({ segmentsAtOnce: 1 })
    a.fault = onRanges(fault)

    expect(await transfer.beside(part('a', 1000, 2000))).toBeUndefined()

    expect(transfer.spare()).toBe('b')
    expect(await read(await transfer.beside(part('b', 1000, 2000)))).toEqual(content.subarray(1000, 2000))
    expect(transfer.spare('b')).toBeUndefined()
    expect(transfer.spare()).toBe('b')
  })

  test('gives a place back that was given up while it was being opened, and holds it against nobody', async () => {
    const { a, transfer } = await start({ segmentsAtOnce: 1 })
    a.fault = onRanges({ kind: 'hang' })
    const leaving = new AbortController()
    const opening = transfer.beside({ ...part('a', 1000, 2000), signal: leaving.signal })
    await expect.poll(() => a.requests.length).toBe(1)
    expect(transfer.spare('b')).toBeUndefined()

    leaving.abort(new Error('not needed'))

    await expect(opening).rejects.toThrow('not needed')
    expect(transfer.spare('b')).toBe('a')
    transfer.outpaced('a')
    expect(transfer.spare('b')).toBeUndefined()
    expect((await transfer.next(0)).upstream).toBe('b')
  })

  test('in doubt asks one at a time, and those last who may have lied', async () => {
    const { transfer } = await start()
    await read(await transfer.beside(part('a')))

    transfer.doubt(['a'])

    expect(transfer.spare()).toBeUndefined()
    expect(await transfer.beside(part('b'))).toBeUndefined()
    expect((await transfer.next(0)).upstream).toBe('b')
  })

  test('never asks again who has lied', async () => {
    const { transfer } = await start()
    await read(await transfer.beside(part('a')))

    transfer.lied(['a'])

    expect(transfer.spare()).toBe('b')
    expect(transfer.spare('b')).toBeUndefined()
    expect((await transfer.next(0)).upstream).toBe('b')
  })

  test('passes over another size once bytes were given, also at the beginning', async () => {
    const { a, transfer } = await start()
    await read(await transfer.next(1000, 2000))
    a.fault = () => ({ kind: 'status', status: 200, headers: { 'content-length': '3' }, body: 'xyz' })

    const stream = await transfer.next(0)

    expect(stream).toMatchObject({ upstream: 'b', size: SIZE })
    stream.destroy()
  })
})
