import { expect, test } from 'vitest'
import { fetchBlob, fetchManifest, headTag, PullError, pull } from './client.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'a-limits', upstreams: ['a', 'b', 'hub'] })

const MINUTE_MS = 60_000
const limited = (seconds: number) =>
  ({ kind: 'status', status: 429, headers: { 'retry-after': String(seconds) } }) as const

test('F8 429 with Retry-After from the first upstream: it rests for so long, the others serve', async () => {
  const [image, during, next] = await stage.images(3)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  a.inject(limited(120))

  const pulled = await pull(mirror.url, image!)
  const asked = a.asked.length
  await mirror.later(100_000)
  const resting = await pull(mirror.url, during!)

  expect([pulled, resting].map(({ layers }) => layers[0]!.source)).toEqual(['b', 'b'])
  expect((await mirror.standing('a')).state).toBe('limited')
  expect(asked).toBe(1)
  expect(a.asked).toHaveLength(1)

  await a.heal()
  await mirror.later(21_000)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F9 429 from every upstream, and the tag is cached: it is served, marked stale, and the layers without a question', async () => {
  const image = await stage.image({ repository: 'library/limited' })
  const mirror = await stage.mirror()
  await pull(mirror.url, image)
  await mirror.later(6 * MINUTE_MS)
  for (const proxy of stage.proxies) proxy.forget()
  for (const proxy of stage.proxies) proxy.inject(limited(120))

  const tag = await fetchManifest(mirror.url, image)
  const pulled = await pull(mirror.url, image)

  expect(tag.cache).toBe('stale')
  expect(tag.headers.warning).toBeTruthy()
  expect([pulled.manifest, pulled.config, ...pulled.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
  expect(stage.proxies.flatMap(({ asked }) => asked.filter(({ kind }) => kind === 'blob'))).toEqual([])

  for (const proxy of stage.proxies) await proxy.heal()
  const moved = await stage.image({ repository: 'library/limited' })
  await mirror.later(6 * MINUTE_MS)
  expect((await fetchManifest(mirror.url, moved)).cache).not.toBe('stale')
  expect((await pull(mirror.url, moved)).layers[0]!.cache).toBe('miss')
})

test('F10 429 from every upstream, and nothing cached: a short wait is waited for, a long one is said as 429', async () => {
  const [image, next] = await stage.images(2)
  const upstreams = stage.proxies
  const mirror = await stage.mirror()
  for (const proxy of upstreams) proxy.inject(limited(1), {}, 1)

  const waited = await headTag(mirror.url, image!)
  for (const proxy of upstreams) proxy.inject(limited(60))
  const refused = await pull(mirror.url, next!).catch((error: unknown) => error)
  const answer = await mirror.read(`/v2/${next!.repository}/manifests/latest`)

  expect(waited.status).toBe(200)
  expect(refused).toBeInstanceOf(PullError)
  expect((refused as PullError).reading.status).toBe(429)
  expect(answer.status).toBe(429)
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
  expect(Number(answer.headers['retry-after'])).toBeLessThanOrEqual(60)
  expect(answer.headers['content-type']).toMatch(/^application\/json/)
  expect(JSON.parse(answer.text)).toMatchObject({ errors: [{ code: 'TOOMANYREQUESTS' }] })

  for (const proxy of upstreams) await proxy.heal()
  await mirror.later(61_000)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F14 402 from an upstream whose quota is used up: the next one serves, /stats says it, and it rests', async () => {
  const [image, during, next] = await stage.images(3)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  a.inject({ kind: 'status', status: 402, body: 'please pay' })

  const pulled = await pull(mirror.url, image!)
  const second = await pull(mirror.url, during!)

  expect([pulled, second].map(({ layers }) => layers[0]!.source)).toEqual(['b', 'b'])
  expect(a.asked).toHaveLength(1)
  expect(await mirror.standing('a')).toMatchObject({ state: 'limited', errors: 1, reason: 'answered 402' })

  await a.heal()
  await mirror.later(11 * MINUTE_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F20 403, 429 and 503 with a page as their body: the client gets an OCI error in JSON', async () => {
  const image = await stage.image()
  for (const status of [403, 429, 503]) {
    const mirror = await stage.mirror({ upstreams: ['a'], settings: { upstream: { firstHeaderBudget: '1s' } } })
    const a = stage.proxy('a')
    a.inject({ kind: 'html', status })

    const answers = [
      await mirror.read(`/v2/${image.repository}/manifests/latest`),
      await mirror.read(`/v2/${image.repository}/blobs/${image.layers[0]!.digest}`),
    ]

    for (const answer of answers) {
      expect([404, 429, 503]).toContain(answer.status)
      expect(answer.headers['content-type']).toMatch(/^application\/json/)
      expect(answer.text).not.toContain('<')
      expect(JSON.parse(answer.text).errors[0].code).toMatch(/^[A-Z_]+$/)
    }

    await a.heal()
    await mirror.later(2 * MINUTE_MS)
    await mirror.untilBack('a')
    expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).source).toBe('a')
  }
})
