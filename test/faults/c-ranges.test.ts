import { expect, test } from 'vitest'
import { fetchBlob, pull } from './client.js'
import { Follower } from './follower.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB
/** What was measured of an upstream is old then. */
const HOUR_MS = 60 * 60_000

const stage = useStage({ name: 'c-ranges', upstreams: ['a', 'b'] })

test('F51 the rest of a blob is asked for and the whole comes: its known bytes are dropped, not appended', async () => {
  const [image, next] = await stage.images(2, { layers: [2 * MIB] })
  const { size } = image!.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })
  a.inject({ kind: 'cut', after: 0.5 }, { repository: image!.repository, range: 'none' })
  const whole = a.inject({ kind: 'ignore-range' }, { range: 'any' })

  const read = await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

  expect(read.bytes).toBe(size)
  expect(whole.met).toBe(1)
  expect(a.blobs.map(({ status, range, bytes }) => ({ status, range, bytes }))).toEqual([
    { status: 200, range: undefined, bytes: size / 2 },
    { status: 200, range: `bytes=${size / 2}-`, bytes: size },
  ])

  await a.heal()
  await mirror.later(HOUR_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test.each([
  { what: 'another start', fault: { kind: 'wrong-range', start: 10 } as const },
  { what: 'another total', fault: { kind: 'wrong-range', total: 10 } as const },
])('F52 the rest of a blob comes with $what: it is refused, and had elsewhere', async ({ fault }) => {
  const [image, next] = await stage.images(2, { layers: [2 * MIB] })
  const { size, digest } = image!.layers[0]!
  const a = stage.proxy('a')
  const b = stage.proxy('b')
  const mirror = await stage.mirror()
  a.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' })
  const wrong = a.inject(fault, { reference: digest, range: 'any' })

  await pull(mirror.url, image!)

  expect(wrong.met).toBe(1)
  expect((await mirror.standing('a')).errors).toBe(2)
  const [rest] = b.blobs.filter(({ reference }) => reference === digest)
  expect(rest).toMatchObject({ range: `bytes=${size / 2}-`, bytes: size / 2 })

  await a.heal()
  await expect.poll(async () => (await pull(mirror.url, next!)).layers[0]!.cache).toBe('hit')
})

// Where the size is known, as here from the answer that broke off, a range has its end from the beginning.
test('F53 an upstream refuses ranges without an end: it is asked for one with its end', async () => {
  const [image] = await stage.images(1, { layers: [2 * MIB] })
  const { digest, size } = image!.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })
  a.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' })
  a.inject({ kind: 'status', status: 400 }, { reference: digest, range: 'open' })

  await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

  expect(a.blobs.at(-1)).toMatchObject({ range: `bytes=${size / 2}-${size - 1}`, status: 206 })
})

test.each([400, 416])('F53 an upstream answers %i to every range: another one has the rest', async (status) => {
  const [image, next] = await stage.images(2, { layers: [2 * MIB] })
  const { digest, size } = image!.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' })
  a.inject({ kind: 'status', status }, { reference: digest, range: 'any' })

  await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

  expect(stage.proxy('b').blobs).toMatchObject([{ bytes: size / 2 }])

  await a.heal()
  await mirror.later(HOUR_MS)
  expect((await fetchBlob(mirror.url, next!.repository, next!.layers[0]!)).source).toBe('a')
})

test.each([400, 416])(
  'F53 the only upstream answers %i to every range: it is asked for the whole again',
  async (status) => {
    const [image, next] = await stage.images(2, { layers: [2 * MIB] })
    const { digest, size } = image!.layers[0]!
    const a = stage.proxy('a')
    const mirror = await stage.mirror({ upstreams: ['a'] })
    a.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' }, 1)
    a.inject({ kind: 'status', status }, { reference: digest, range: 'any' })

    const read = await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

    expect(read.bytes).toBe(size)
    expect(a.blobs.at(-1)).toMatchObject({ range: undefined, bytes: size })

    await a.heal()
    await mirror.later(HOUR_MS)
    expect((await fetchBlob(mirror.url, next!.repository, next!.layers[0]!)).source).toBe('a')
  },
)

// A mirror that keeps nothing: there the client's pace is the upstream's.
test('F56 an upstream goes silent while the client holds back: the limit on silence fires all the same', async () => {
  const [image, next] = await stage.images(2, { layers: [12 * MIB] })
  const { digest, size } = image!.layers[0]!
  const [a, b] = [stage.proxy('a'), stage.proxy('b')]
  const mirror = await stage.mirror({ settings: { storage: { maxSize: '1MiB' } } })
  a.inject({ kind: 'stall', after: 0.5 }, { reference: digest })

  const client = await Follower.open(`${mirror.url}/v2/${image!.repository}/blobs/${digest}`, { limit: 1 })
  await expect.poll(() => b.blobs.length, { timeout: 10_000 }).toBe(1)

  expect(client.bytes).toBeLessThan(MIB)
  expect(b.blobs[0]!.range).toBe(`bytes=${size / 2}-`)
  await expect.poll(() => a.blobs[0]!.state).toBe('gone')
  client.goOn()
  expect(await client.done).toEqual({ digest, bytes: size })

  await a.heal()
  await mirror.later(HOUR_MS)
  expect((await fetchBlob(mirror.url, next!.repository, next!.layers[0]!)).source).toBe('a')
})
