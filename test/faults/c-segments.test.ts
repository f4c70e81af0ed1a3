import { expect, test } from 'vitest'
import { fetchBlob, headTag, pull } from './client.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB

const stage = useStage({ name: 'c-segments', upstreams: ['a', 'b', 'c'] })

const SEGMENT = MIB
const SEGMENTS = { upstream: { segments: { size: '1MiB', minBlob: '4MiB', perUpstream: 2 } } }
/** Of each body: slow enough for several streams to pay. */
const SLOW = { kind: 'throttle', bytesPerSecond: 3 * MIB } as const

const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0)
const bytesOf = (digest: string) =>
  sum(
    stage.proxies.flatMap(({ blobs }) =>
      blobs.filter(({ reference }) => reference === digest).map(({ bytes }) => bytes),
    ),
  )

test('F63 a part of a large blob breaks off: its rest alone is fetched again', async () => {
  const [image, next] = await stage.images(2, { layers: [12 * MIB] })
  const { digest, size } = image!.layers[0]!
  const mirror = await stage.mirror({ settings: SEGMENTS })
  await headTag(mirror.url, image!)
  const b = stage.proxy('b')
  for (const proxy of stage.proxies) if (proxy !== b) proxy.inject(SLOW)
  const broken = b.inject([SLOW, { kind: 'cut', after: 0.5 }], { reference: digest, range: 'closed' }, 1)
  b.inject(SLOW)

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.status).toBe(200)
  expect(broken.met).toBe(1)
  const parts = stage.proxies.map(({ blobs }) => blobs.filter(({ reference }) => reference === digest))
  for (const asked of parts) expect(asked.length).toBeGreaterThan(0)
  expect(parts.flat().length).toBeGreaterThan(4)
  expect(bytesOf(digest)).toBeGreaterThanOrEqual(size)
  expect(bytesOf(digest)).toBeLessThan(size + SEGMENT)

  for (const proxy of stage.proxies) await proxy.heal()
  expect((await pull(mirror.url, next!)).layers[0]!.status).toBe(200)
})

test('F63 one upstream has no ranges: the others give the parts', async () => {
  const image = await stage.image({ layers: [12 * MIB] })
  const { digest, size } = image.layers[0]!
  const mirror = await stage.mirror({ settings: SEGMENTS })
  const b = stage.proxy('b')
  for (const proxy of stage.proxies) if (proxy !== b) proxy.inject(SLOW)
  b.inject([{ kind: 'ignore-range' }, SLOW])

  const pulled = await pull(mirror.url, image)

  expect(pulled.layers[0]!.digest).toBe(digest)
  expect(b.blobs.filter(({ reference }) => reference === digest)).toHaveLength(1)
  expect(stage.proxy('c').blobs.filter(({ reference }) => reference === digest).length).toBeGreaterThan(1)
  expect(bytesOf(digest)).toBeLessThan(size + SEGMENT)
})

test('F63 no upstream has ranges: the blob comes in one stream', async () => {
  const image = await stage.image({ layers: [12 * MIB] })
  const { digest, size } = image.layers[0]!
  const mirror = await stage.mirror({ settings: SEGMENTS })
  for (const proxy of stage.proxies) proxy.inject([{ kind: 'ignore-range' }, SLOW])

  const pulled = await pull(mirror.url, image)

  expect(pulled.layers[0]!.digest).toBe(digest)
  const whole = stage.proxies.flatMap(({ blobs }) => blobs.filter(({ state }) => state === 'done'))
  expect(whole.filter(({ reference }) => reference === digest).map(({ bytes }) => bytes)).toEqual([size])
  expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).cache).toBe('hit')
})
