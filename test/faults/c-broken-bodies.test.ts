import { expect, test } from 'vitest'
import { fetchBlob, headTag, pull } from './client.js'
import { Follower } from './follower.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

const stage = useStage({ name: 'c-broken-bodies', upstreams: ['a', 'b'] })

const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0)

test.each([{ upstreams: ['a'] as const }, { upstreams: ['a', 'b'] as const }])(
  'F47 the connection is reset at half of a blob, $upstreams.length upstreams: the client sees one whole body',
  async (given) => {
    const [image, next] = await stage.images(2, { layers: [2 * MIB] })
    const { digest, size } = image!.layers[0]!
    const mirror = await stage.mirror(given)
    const cut = stage.proxy('a').inject({ kind: 'cut', after: 0.5 }, { reference: digest }, 1)

    const pulled = await pull(mirror.url, image!)

    expect(cut.met).toBe(1)
    expect(pulled.layers[0]!.headers['content-length']).toBe(String(size))
    const asked = stage.proxies.flatMap(({ blobs }) => blobs.filter(({ reference }) => reference === digest))
    expect(asked.map(({ range }) => range)).toEqual([undefined, `bytes=${size / 2}-`])
    expect(sum(asked.map(({ bytes }) => bytes))).toBe(size)
    await mirror.later(HOUR_MS)
    expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
  },
)

const EARLY = [
  { how: 'the connection is closed', fault: { kind: 'end', after: 0.5 } as const },
  { how: 'less is announced', fault: { kind: 'short', after: 0.5 } as const },
]

test.each(EARLY)('F48 a blob ends early ($how): it is completed by another upstream', async ({ fault }) => {
  const [image, next] = await stage.images(2, { layers: [MIB] })
  const { digest } = image!.layers[0]!
  const mirror = await stage.mirror()
  const early = stage.proxy('a').inject(fault, { reference: digest })

  const pulled = await pull(mirror.url, image!)

  expect(early.met).toBeGreaterThan(0)
  expect(pulled.layers[0]!.status).toBe(200)
  expect(stage.proxy('b').blobs.map(({ reference }) => reference)).toContain(digest)
  expect((await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)).cache).toBe('hit')

  await stage.proxy('a').heal()
  await mirror.later(HOUR_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F48 a blob ends early and nobody has the rest: the connection is reset, nothing is kept as whole', async () => {
  const image = await stage.image({ layers: [MIB] })
  const { digest, size } = image.layers[0]!
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const a = stage.proxy('a')
  await headTag(mirror.url, image)
  a.inject({ kind: 'end', after: 0.5 }, { range: 'none' })
  a.inject({ kind: 'status', status: 503 }, { range: 'any' })

  const client = await Follower.open(`${mirror.url}/v2/${image.repository}/blobs/${digest}`)

  expect(client.status).toBe(200)
  await expect(client.done).rejects.toThrow('cut')
  expect(client.bytes).toBeLessThanOrEqual(size / 2)

  await a.heal()
  await mirror.later(11_000)
  const again = await fetchBlob(mirror.url, image.repository, image.layers[0]!)
  expect(again.cache).toBe('miss')
  expect(a.blobs.at(-1)!.range).toBe(`bytes=${size / 2}-`)
})

// Bytes behind what Content-Length says are no part of an answer (RFC 9112, 6.3): nobody can take them for the blob's.
const MORE = [
  { how: 'announced', fault: { kind: 'long', bytes: 1000, announced: true } as const },
  { how: 'without a length', fault: [{ kind: 'chunked' }, { kind: 'long', bytes: 1000, announced: false }] as const },
]

test.each(MORE)(
  'F49 an upstream sends more bytes than the blob has ($how): it is cut off, another one serves',
  async (given) => {
    const [image, next] = await stage.images(2, { layers: [MIB] })
    const { digest } = image!.layers[0]!
    const mirror = await stage.mirror()
    const a = stage.proxy('a')
    const more = a.inject([given.fault].flat(), { reference: digest })

    await pull(mirror.url, image!)

    expect(more.met).toBeGreaterThan(0)
    expect((await mirror.standing('a')).errors).toBeGreaterThan(0)
    expect(stage.proxy('b').blobs.map(({ reference }) => reference)).toContain(digest)

    await a.heal()
    await mirror.later(HOUR_MS)
    expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
  },
)

test('F50 a byte of a large blob differs: the connection is reset before the last one, the next pull is right', async () => {
  const [image, next] = await stage.images(2, { layers: [2 * MIB] })
  const { digest, size } = image!.layers[0]!
  const mirror = await stage.mirror()
  const a = stage.proxy('a')
  a.inject({ kind: 'flip' }, { reference: digest })

  const client = await Follower.open(`${mirror.url}/v2/${image!.repository}/blobs/${digest}`)
  await expect(client.done).rejects.toThrow('cut')
  const again = await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

  expect(client.bytes).toBeLessThan(size)
  expect(again.bytes).toBe(size)
  expect(stage.proxy('b').blobs).toMatchObject([{ range: undefined, bytes: size }])
  expect((await mirror.standing('a')).state).toBe('quarantined')

  await a.heal()
  await mirror.later(11 * MINUTE_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F50 a byte of a small blob differs: no client gets a byte of it, all get it from another upstream', async () => {
  const [image, next] = await stage.images(2, { layers: [200 * KIB] })
  const mirror = await stage.mirror()
  const a = stage.proxy('a')
  a.inject({ kind: 'flip' }, { reference: image!.layers[0]!.digest })

  expect((await pull(mirror.url, image!)).layers[0]!.source).toBe('b')

  expect((await mirror.standing('a')).state).toBe('quarantined')
  await a.heal()
  await mirror.later(11 * MINUTE_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})
