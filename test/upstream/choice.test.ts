import { afterEach, describe, expect, test } from 'vitest'
import type { BuiltInUpstream, Fault } from '../../src/doctor/built-in-upstream.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { parseTag, referenceOf } from '../../src/oci/reference.js'
import type { UpstreamOptions } from '../../src/upstream/registry-client.js'
import type { UpstreamGroup } from '../../src/upstream/upstream-group.js'
import {
  clientOf,
  closeAll,
  digestOfBody,
  groupOf,
  REPOSITORY,
  startUpstream,
  upstreamOptions,
} from '../helpers/upstream.js'

afterEach(closeAll)

const SIZE = 200_000
const PATIENT = { connectMs: 5000, firstByteMs: 5000, idleMs: 5000 }
const TAG = parseTag('latest')
const NAMES = ['a', 'b', 'c'] as const

/** Three upstreams that hold the same image and blob; silence is long, so that only a hedge is quicker. */
async function start(options: Partial<Record<(typeof NAMES)[number], Partial<UpstreamOptions>>> = {}) {
  const upstreams = await Promise.all(NAMES.map(() => startUpstream()))
  const [a, b, c] = upstreams as [BuiltInUpstream, BuiltInUpstream, BuiltInUpstream]
  const blob = a.blob(a.addBlob(SIZE)) as Buffer
  const images = upstreams.map((each) => each.addImage(REPOSITORY, 'latest', { layers: [blob] }))
  const group = groupOf(
    NAMES.map((name, at) =>
      upstreamOptions(upstreams[at]!.url, { name, role: 'mirror', timeouts: PATIENT, ...options[name] }),
    ),
  )
  return { a, b, c, group, manifest: referenceOf(images[0]!.manifest), layer: digestOf(blob) }
}

const counts = (...upstreams: BuiltInUpstream[]) => upstreams.map(({ requests }) => requests.length)
const states = (group: UpstreamGroup) => group.states().map(({ state, errors }) => `${state} ${errors}`)

/** Only the first `good` requests are answered as they should be. */
function onlyFirst(good: number, fault: Fault): BuiltInUpstream['fault'] {
  let asked = 0
  return () => (asked++ < good ? undefined : fault)
}

async function pull(group: UpstreamGroup, digest: Digest): Promise<string> {
  const { upstream, body } = await group.openTransfer(REPOSITORY, digest).next(0)
  expect(await digestOfBody(body, digest)).toBe(digest)
  return upstream
}

describe('a manifest', () => {
  test('whose upstream is late is asked of one other, which wins; the late one is let go and none the worse', async () => {
    const { a, b, c, group, manifest } = await start({ a: { connections: 1 } })
    a.fault = onlyFirst(1, { kind: 'hang' })
    await group.getManifest(REPOSITORY, manifest, { among: 'all' })

    expect(await group.getManifest(REPOSITORY, manifest, { among: 'all' })).toMatchObject({ upstream: 'b' })

    expect(counts(a, b, c)).toEqual([2, 1, 0])
    expect(states(group)).toEqual(['up 0', 'up 0', 'up 0'])
    await expect.poll(() => group.states()[0]?.ttfbMs).toBeGreaterThan(100)
    a.fault = undefined
    // Its one place is free again.
    expect(await group.getManifest(REPOSITORY, manifest, { among: 'all' })).toMatchObject({ upstream: 'a' })
  })

  test('is asked of the third when the first two are late, long before their time is up', async () => {
    const { a, b, c, group, manifest } = await start()
    a.fault = onlyFirst(1, { kind: 'hang' })
    b.fault = onlyFirst(0, { kind: 'hang' })
    await group.getManifest(REPOSITORY, manifest, { among: 'all' })

    expect(await group.getManifest(REPOSITORY, manifest, { among: 'all' })).toMatchObject({ upstream: 'c' })

    expect(counts(a, b, c)).toEqual([2, 1, 1])
    expect(states(group)).toEqual(['up 0', 'up 0', 'up 0'])
  })

  test('is asked last of those who were late when they were asked first, and have never answered', async () => {
    const { a, b, c, group, manifest, layer } = await start()
    for (const late of [a, b]) late.fault = onlyFirst(0, { kind: 'hang' })
    await group.getManifest(REPOSITORY, manifest, { among: 'all' })

    expect(await pull(group, layer)).toBe('c')

    expect(counts(a, b, c)).toEqual([1, 1, 2])
    expect(states(group)).toEqual(['up 0', 'up 0', 'up 0'])
  })

  test('whose upstream is late is asked of one that was out of reach, where nobody else is left', async () => {
    const { a, b, c, group, manifest } = await start()
    await b.stop()
    await c.stop()
    a.fault = () => ({ kind: 'status', status: 404 })
    await expect(group.getManifest(REPOSITORY, manifest, { among: 'all' })).rejects.toThrow()
    a.fault = onlyFirst(1, { kind: 'hang' })
    await group.getManifest(REPOSITORY, manifest, { among: 'all' })
    await Promise.all([b.start(), c.start()])

    expect(await group.getManifest(REPOSITORY, manifest, { among: 'all' })).toMatchObject({ upstream: 'b' })

    expect(counts(b, c)).toEqual([1, 0])
  })
})

describe('of one upstream alone', () => {
  async function alone(failing: number, fault: Fault) {
    const upstream = await startUpstream()
    upstream.addImage(REPOSITORY, 'latest', { layers: [] })
    let asked = 0
    upstream.fault = () => (asked++ < failing ? fault : undefined)
    const group = groupOf([upstreamOptions(upstream.url, { name: 'a', role: 'origin' })])
    const answer = group.headManifest(REPOSITORY, TAG, { among: 'origins' })
    return { answer, asked: () => asked }
  }

  test('what it failed to answer twice is asked a third time', async () => {
    const { answer, asked } = await alone(2, { kind: 'status', status: 503 })

    expect(await answer).toMatchObject({ upstream: 'a' })
    expect(asked()).toBe(3)
  })

  test('nothing is asked a fourth time', async () => {
    const { answer, asked } = await alone(3, { kind: 'status', status: 503 })

    await expect(answer).rejects.toThrow('503')
    expect(asked()).toBe(3)
  })

  test.each([404, 429, 403])('an answer of %i is not asked for again', async (status) => {
    const { answer, asked } = await alone(1, { kind: 'status', status })

    await expect(answer).rejects.toThrow(String(status))
    expect(asked()).toBe(1)
  })
})

describe('a tag', () => {
  test('is asked of another origin when the first is late', async () => {
    const { a, b, c, group } = await start({ b: { role: 'origin' }, c: { role: 'origin' } })
    b.fault = onlyFirst(1, { kind: 'hang' })
    await group.headManifest(REPOSITORY, TAG, { among: 'origins' })

    expect(await group.headManifest(REPOSITORY, TAG, { among: 'origins' })).toMatchObject({ upstream: 'c' })

    expect(counts(a, b, c)).toEqual([0, 2, 1])
  })

  test.each<[string, Parameters<typeof start>[0], 'origins' | 'mirrors']>([
    ['a mirror that resolves always', { a: { role: 'origin' }, b: { resolve: 'always' } }, 'origins'],
    ['another mirror where there is no origin', {}, 'origins'],
    ['another mirror that stands in', { c: { role: 'origin' } }, 'mirrors'],
  ])('is not asked of %s because the first is late', async (_case, options, among) => {
    const { a, b, c, group } = await start(options)
    a.fault = onlyFirst(1, { kind: 'delay', ms: 400 })
    await group.headManifest(REPOSITORY, TAG, { among })

    expect(await group.headManifest(REPOSITORY, TAG, { among })).toMatchObject({ upstream: 'a' })

    expect(counts(a, b, c)).toEqual([2, 0, 0])
  })
})

describe('a blob', () => {
  test('whose upstream is late comes from another, every byte once', async () => {
    const { a, b, c, group, layer } = await start()
    a.fault = onlyFirst(1, { kind: 'hang' })
    await pull(group, layer)

    expect(await pull(group, layer)).toBe('b')

    expect(counts(a, b, c)).toEqual([2, 1, 0])
    expect([a, b].map(({ bytesSent }) => bytesSent)).toEqual([SIZE, SIZE])
    expect(group.states().map(({ bytes }) => bytes)).toEqual([SIZE, SIZE, 0])
    expect(states(group)).toEqual(['up 0', 'up 0', 'up 0'])
  })

  test('is asked of one upstream alone while that is as quick as ever', async () => {
    const { a, b, c, group, layer } = await start()
    for (let pulls = 0; pulls < 20; pulls++) expect(await pull(group, layer)).toBe('a')

    expect(counts(a, b, c)).toEqual([20, 0, 0])
  })

  test('of an upstream that sleeps before each comes from a quick one, once that is known; nobody is declared dead', async () => {
    const { a, b, group, layer, manifest } = await start({ c: { allow: ['other/*'] } })
    a.fault = ({ path }) => (path.includes('/blobs/') ? { kind: 'delay', ms: 300 } : undefined)
    for (let rounds = 0; rounds < 5; rounds++) await Promise.all(Array.from({ length: 4 }, () => pull(group, layer)))
    for (const each of [a, b]) each.requests = []

    for (let pulls = 0; pulls < 10; pulls++) expect(await pull(group, layer)).toBe('b')

    expect(counts(a, b)).toEqual([0, 10])
    expect(await group.getManifest(REPOSITORY, manifest, { among: 'all' })).toMatchObject({ upstream: 'a' })
    expect(states(group)).toEqual(['up 0', 'up 0', 'up 0'])
  })

  test('below the minimum rate goes on elsewhere from where it was, and that costs nobody its place', async () => {
    const slow = { minBytesPerSecond: 500_000, rateWindowMs: 200 }
    const { a, b, group, layer } = await start({ a: slow, b: slow })
    a.bytesPerSecond = 50_000
    const transfer = group.openTransfer(REPOSITORY, layer)

    const first = await transfer.next(0)
    let offset = 0
    const broken = (async () => {
      for await (const chunk of first.body) offset += chunk.length
    })()
    await expect(broken).rejects.toMatchObject({ kind: 'slow', trickling: true })
    first.failed(await broken.catch((error: unknown) => error))
    const rest = await transfer.next(offset)

    expect(rest.upstream).toBe('b')
    expect(b.requests).toMatchObject([{ range: `bytes=${offset}-` }])
    for await (const chunk of rest.body) offset += chunk.length
    expect(offset).toBe(SIZE)
    expect(group.states()[0]).toMatchObject({ state: 'up', errors: 1 })
    expect(a.bytesSent).toBeLessThan(SIZE / 2)
  })

  test('below the minimum rate everywhere stays with the last one: each is left once', async () => {
    const slow = { minBytesPerSecond: 5_000_000, rateWindowMs: 100 }
    const { a, b, c, group, layer } = await start({ a: slow, b: slow, c: { ...slow, allow: ['other/*'] } })
    for (const each of [a, b]) each.bytesPerSecond = 400_000
    const transfer = group.openTransfer(REPOSITORY, layer)
    let offset = 0
    const sources: string[] = []
    while (offset < SIZE) {
      const stream = await transfer.next(offset)
      sources.push(stream.upstream)
      try {
        for await (const chunk of stream.body) offset += chunk.length
      } catch (error) {
        stream.failed(error)
      }
    }

    expect(sources).toEqual(['a', 'b'])
    expect(counts(c)).toEqual([0])
    expect(states(group)).toEqual(['up 1', 'up 0', 'up 0'])
  })
})

describe('requests at a time', () => {
  async function startOne(connections: number) {
    const upstream = await startUpstream()
    const digest = upstream.addBlob(100_000)
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    upstream.bytesPerSecond = 2_000_000
    return { upstream, digest, client: clientOf(upstream.url, { connections, timeouts: PATIENT }) }
  }

  test('are at most as many as `connections`, of which blobs have three quarters; all are answered in the end', async () => {
    const { upstream, digest, client } = await startOne(4)
    const most = { streams: 0, connections: 0 }
    let streams = 0
    const read = async () => {
      const { body } = await client.getBlob(REPOSITORY, digest, 0)
      most.streams = Math.max(most.streams, ++streams)
      most.connections = Math.max(most.connections, await upstream.connections())
      const got = await digestOfBody(body, digest)
      streams--
      return got
    }

    const digests = await Promise.all(Array.from({ length: 20 }, read))

    expect(new Set(digests)).toEqual(new Set([digest]))
    expect(most.streams).toBe(3)
    expect(most.connections).toBeLessThanOrEqual(4)
  })

  test('a quarter is kept from blobs: a manifest does not wait for them', async () => {
    const { upstream, digest, client } = await startOne(4)
    const streams = await Promise.all(Array.from({ length: 3 }, () => client.getBlob(REPOSITORY, digest, 0)))
    const fourth = client.getBlob(REPOSITORY, digest, 0)

    await client.getManifest(REPOSITORY, referenceOf(TAG))

    expect(upstream.count(/blobs/)).toBe(3)
    streams[0]?.destroy()
    ;(await fourth).destroy()
    expect(upstream.count(/blobs/)).toBe(4)
  })

  test('a blob that waits for its turn longer than an answer usually takes is asked of nobody else', async () => {
    const { a, b, c, group, layer } = await start({ a: { connections: 1 } })
    await pull(group, layer)
    a.bytesPerSecond = SIZE
    const [one, other] = [pull(group, layer), pull(group, layer)]

    expect(await Promise.all([one, other])).toEqual(['a', 'a'])

    expect(counts(a, b, c)).toEqual([3, 0, 0])
  })

  test('one that waits and leaves was never sent', async () => {
    const { upstream, digest, client } = await startOne(1)
    const stream = await client.getBlob(REPOSITORY, digest, 0)
    const leaving = new AbortController()
    const waiting = client.getBlob(REPOSITORY, digest, 0, leaving.signal)

    leaving.abort(new Error('left'))

    await expect(waiting).rejects.toThrow('left')
    stream.destroy()
    await client.getManifest(REPOSITORY, referenceOf(TAG))
    expect(upstream.asked.map((line) => line.split('/')[4])).toEqual(['blobs', 'manifests'])
  })
})
