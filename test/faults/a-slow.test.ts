import { expect, test } from 'vitest'
import { fetchBlob, pull } from './client.js'
import type { Descriptor, Image } from './content.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'a-slow', upstreams: ['a', 'b'] })

const KIB = 1024
const MIB = 1024 * KIB
/** The default limit, since it is the hedge that is to be seen, not the time limit. */
const PATIENT = { upstream: { timeouts: { firstByte: '10s' } } }

// "Minutes" are five seconds for each MiB.
test('F21 an upstream sleeps before the first byte, as long as the blob is large: others give blobs, and it is not dead', async () => {
  const [image, second, next] = await stage.images(3, { layers: [2 * MIB] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ settings: PATIENT })
  const sleeping = a.inject({ kind: 'delay', msPerMiB: 5000 }, { kind: 'blob', method: 'GET' })

  const pulled = await pull(mirror.url, image!)
  const again = await pull(mirror.url, second!)

  expect([pulled, again].map(({ layers }) => layers[0]!.source)).toEqual(['b', 'b'])
  expect([pulled, again].map(({ manifest }) => manifest.source)).toEqual(['a', 'a'])
  expect(a.blobs.filter(({ state }) => state === 'gone').length).toBeGreaterThan(0)
  expect((await mirror.standing('a')).state).toBe('up')

  // It is ranked down for blobs, until what was measured is old.
  sleeping.end()
  await mirror.later(60 * 60_000)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F22 an upstream trickles below the minimum rate: the blob goes on at another one from where it was', async () => {
  const [image, next] = await stage.images(2, { layers: [MIB] })
  const a = stage.proxy('a')
  const b = stage.proxy('b')
  const mirror = await stage.mirror({ settings: { upstream: { minRate: '64KiB' } } })
  const { digest, size } = image!.layers[0]!
  const trickle = a.inject({ kind: 'throttle', bytesPerSecond: 16 * KIB }, { kind: 'blob', reference: digest })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.status).toBe(200)
  const [began] = a.blobs.filter(({ reference }) => reference === digest)
  const [wentOn] = b.blobs.filter(({ reference }) => reference === digest)
  const offset = Number(/^bytes=(\d+)-/.exec(wentOn!.range ?? '')?.[1])
  expect(offset).toBeGreaterThan(16 * KIB)
  expect(offset).toBeLessThanOrEqual(began!.bytes)
  expect(wentOn!.bytes).toBe(size - offset)
  expect((await mirror.standing('a')).state).toBe('up')

  trickle.end()
  await mirror.later(60 * 60_000)
  await expect.poll(async () => (await pull(mirror.url, await stage.image())).layers[0]!.source).toBe('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F26 the first upstream is slow, the second quick: the second is preferred, and back when that has turned', async () => {
  const a = stage.proxy('a')
  const b = stage.proxy('b')
  const mirror = await stage.mirror({ settings: PATIENT })
  const sourceOfNext = async () => (await pull(mirror.url, await stage.image())).layers[0]!.source
  a.inject({ kind: 'delay', ms: 600 })

  await expect.poll(sourceOfNext, { timeout: 30_000, interval: 1 }).toBe('b')
  await expect.poll(sourceOfNext, { timeout: 30_000, interval: 1 }).toBe('b')
  const sources = [await sourceOfNext(), await sourceOfNext(), await sourceOfNext(), await sourceOfNext()]
  expect(sources.filter((source) => source === 'b').length).toBeGreaterThanOrEqual(3)

  await a.heal()
  b.inject({ kind: 'delay', ms: 600 })
  await expect.poll(sourceOfNext, { timeout: 30_000, interval: 1 }).toBe('a')
})

test('F26 two upstreams are nearly equal: the first one is asked, without flapping', async () => {
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ settings: PATIENT })
  // Of blobs as small as these nothing but the time until they begin is measured.
  const [atBoth, onlyAtB] = await stage.images(2, { layers: Array<number>(10).fill(1000) })
  a.inject({ kind: 'status', status: 403 }, { repository: onlyAtB!.repository })
  // So long that what a busy machine adds makes neither of them half as quick again as the other.
  a.inject({ kind: 'delay', ms: 600 })
  stage.proxy('b').inject({ kind: 'delay', ms: 450 })
  const sourceOf = async ({ repository }: Image, layer: Descriptor) =>
    (await fetchBlob(mirror.url, repository, layer)).source
  // So that both have been measured, under the same load.
  for (const at of [0, 1, 2, 3]) {
    await Promise.all([atBoth!, onlyAtB!].map((image) => sourceOf(image, image.layers[at]!)))
  }
  const sources: (string | undefined)[] = []

  for (const layer of atBoth!.layers.slice(4)) sources.push(await sourceOf(atBoth!, layer))

  // One may be late for once, and its hedge quicker: that is no change of mind.
  expect(sources.filter((source) => source === 'a').length).toBeGreaterThanOrEqual(sources.length - 1)
})
