import { expect, test } from 'vitest'
import { fetchBlob, fetchManifest, pull } from './client.js'
import { useStage } from './stage.js'

const MIB = 1024 * 1024
const HOUR_MS = 60 * 60_000

const stage = useStage({ name: 'h-budget', upstreams: ['hub', 'b'] })

/** What Docker Hub says beside every manifest. */
const left = (pulls: number) =>
  ({
    kind: 'headers',
    set: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': `${pulls};w=21600` },
  }) as const

test('F145 few pulls are left at an upstream: it is asked only for what nobody else can say, and /stats tells', async () => {
  const images = await stage.images(6)
  const [hub, b] = [stage.proxy('hub'), stage.proxy('b')]
  const mirror = await stage.mirror()
  const manifest = ({ repository, digest }: (typeof images)[number]) =>
    mirror.read(`/v2/${repository}/manifests/${digest}`)
  const linesAbout = ({ repository }: (typeof images)[number]) =>
    hub.asked.filter((asked) => asked.repository === repository).map(({ method, reference }) => [method, reference])

  hub.inject(left(11))
  expect((await manifest(images[0]!)).source).toBe('hub')
  const more = (await manifest(images[1]!)).source
  await hub.heal()
  hub.inject(left(10))
  await manifest(images[2]!)
  const fewer = (await manifest(images[3]!)).source
  const tag = await fetchManifest(mirror.url, images[4]!)

  expect([more, fewer, tag.digest]).toEqual(['hub', 'b', images[4]!.digest])
  expect(linesAbout(images[3]!)).toEqual([])
  expect(linesAbout(images[4]!)).toEqual([['HEAD', 'latest']])
  expect(b.asked.map(({ reference }) => reference)).toEqual([images[3]!.digest, images[4]!.digest])
  const rateLimit = { limit: 100, remaining: 10, windowSeconds: 21_600 }
  expect(await mirror.standing('hub')).toMatchObject({ state: 'up', rateLimit })

  await b.setDoor('shut')
  expect((await manifest(images[5]!)).source).toBe('hub')

  await b.heal()
  await hub.heal()
  await mirror.later(7 * HOUR_MS)
  expect((await manifest(await stage.image())).source).toBe('hub')
})

test('F146 the operator caps what comes from an upstream: four blobs at once take as long as the cap says', async () => {
  const [image, next] = await stage.images(2, { layers: [MIB, MIB, MIB, MIB] })
  const hub = stage.proxy('hub')
  const mirror = await stage.mirror({ upstreams: [stage.entry('hub', { maxBytesPerSecond: '2MiB' })] })

  const startedAt = performance.now()
  await Promise.all(image!.layers.map((layer) => fetchBlob(mirror.url, image!.repository, layer)))
  const ms = performance.now() - startedAt

  // 4 MiB, of which what comes in 0.1 s may come at once.
  expect(ms).toBeGreaterThan(2000 - 100 - 50)
  expect(hub.blobs).toHaveLength(4)

  const free = await stage.mirror({ upstreams: ['hub'] })
  expect((await pull(free.url, next!)).layers.map(({ source }) => source)).toEqual(Array(4).fill('hub'))
})
