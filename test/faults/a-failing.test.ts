import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fetchBlob, fetchManifest, pull } from './client.js'
import { useStage } from './stage.js'
import { blackHole } from './world.js'

const stage = useStage({
  name: 'a-failing',
  upstreams: ['a', 'b', 'named'],
  hosts: { named: 'named.upstream.example' },
})

/** The cool-down of an upstream that was found at fault, and a little more. */
const COOL_DOWN_MS = 11_000

test.each([500, 502, 503, 504])(
  'F7 %i from the first upstream: the next one serves, after few tries',
  async (status) => {
    const [image, second, next] = await stage.images(3)
    const a = stage.proxy('a')
    const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
    a.inject({ kind: 'status', status, body: 'oops' })

    const pulled = await pull(mirror.url, image!)
    const again = await pull(mirror.url, second!)

    expect([pulled, again].map(({ layers }) => layers[0]!.source)).toEqual(['b', 'b'])
    // Three in a row open its circuit; one more may be under way, since config and layer are asked for at once.
    expect(a.asked.length).toBeGreaterThanOrEqual(3)
    expect(a.asked.length).toBeLessThanOrEqual(4)
    expect((await mirror.standing('a')).state).toBe('open')

    await a.heal()
    await mirror.later(COOL_DOWN_MS)
    await mirror.untilBack('a')
    expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
  },
)

test('F7 503 twice from the only upstream: the blob is asked for a third time, after pauses', async () => {
  const [first, other] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const pauses: number[] = []
  for (const image of [first!, other!]) {
    const rule = a.inject({ kind: 'status', status: 503 }, { kind: 'blob' }, 2)
    a.forget()

    const { source } = await fetchBlob(mirror.url, image.repository, image.layers[0]!)

    expect([source, rule.met, a.blobs.length]).toEqual(['a', 2, 3])
    const [one, two, three] = a.blobs.map(({ at }) => at)
    pauses.push(two! - one!, three! - two!)
  }

  // 250 ms and 500 ms, give or take a quarter.
  expect(pauses.every((pause) => pause > 180)).toBe(true)
  expect((await pull(mirror.url, first!)).layers[0]!.cache).toBe('hit')
})

// Readiness never depends on an upstream, by the contract of /readyz: what is degraded is seen in /stats.
test('F23 every upstream is down, and the image is cached: it is served, /v2/ and /healthz answer as ever', async () => {
  const repository = 'library/outage'
  const image = await stage.image({ repository })
  const unknown = await stage.image()
  const mirror = await stage.mirror({ upstreams: ['a', 'b'], registry: { tags: { ttl: '0s' } } })
  await pull(mirror.url, image)
  for (const proxy of stage.proxies) await proxy.setDoor('shut')

  const tag = await fetchManifest(mirror.url, image)
  const pulled = await pull(mirror.url, image)
  const missing = await mirror.read(`/v2/${unknown.repository}/manifests/latest`)

  expect(tag.cache).toBe('stale')
  expect([pulled.manifest, pulled.config, ...pulled.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
  expect([missing.status, JSON.parse(missing.text).errors[0].code]).toEqual([503, 'UNAVAILABLE'])
  for (const path of ['/v2/', '/healthz', '/readyz']) expect((await mirror.read(path)).status).toBe(200)
  for (const name of ['a', 'b']) {
    expect(await mirror.standing(name)).toMatchObject({
      state: 'open',
      reason: expect.stringContaining('ECONNREFUSED'),
    })
  }

  for (const proxy of stage.proxies) await proxy.heal()
  const moved = await stage.image({ repository })
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, moved)).layers[0]!.source).toBe('a')
})

/** Beyond what a start takes on a busy machine: whoever waited for an upstream or a name would take longer. */
const TIMEOUTS = { connect: '10s', firstByte: '10s', idle: '10s' }

// No network: packets to the upstreams are dropped, and where resolv.conf leads nobody listens.
test('F24 the process starts without a network: it listens without waiting for any of it, serves what is cached, and goes on', async () => {
  const repository = 'library/no-network'
  const image = await stage.image({ repository })
  const startedAt = performance.now()
  const first = await stage.mirror({ upstreams: ['a', 'b'] })
  const usualMs = performance.now() - startedAt
  await pull(first.url, image)
  await stage.stop(first)
  const ends = [await blackHole(stage.proxy('a')), await blackHole(stage.proxy('b'))]
  for (const end of ends) stage.after(end)
  const resolvConf = await deadResolvConf(stage.folder)

  const startedAgainAt = performance.now()
  const mirror = await stage.mirror({
    folder: first.folder,
    upstreams: ['a', 'b', 'named'],
    resolvConf,
    settings: { upstream: { timeouts: TIMEOUTS, revalidationBudget: '2s' } },
  })
  const startMs = performance.now() - startedAgainAt
  const pulled = await pull(mirror.url, image)

  expect(startMs).toBeLessThan(usualMs + 5000)
  expect([pulled.manifest, pulled.config, ...pulled.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])

  await mirror.later(6 * 60_000)
  expect((await fetchManifest(mirror.url, image)).cache).toBe('stale')
  for (const end of ends) await end()
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  const next = await stage.image()
  expect((await pull(mirror.url, next)).layers[0]!.source).toBe('a')
})

test('F25 a dead upstream comes back: one probe, without a request or a restart, brings it back', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  await a.setDoor('reset')
  await pull(mirror.url, image!)
  await mirror.until('a', 'open')
  await a.setDoor('open')
  a.forget()

  // In real time, since it is the timer that is to be seen.
  await mirror.until('a', 'up', 30_000)

  expect(a.asked.map(({ line }) => line)).toEqual(['GET /v2/'])
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

async function deadResolvConf(folder: string): Promise<string> {
  const file = join(folder, 'dead-resolv.conf')
  await writeFile(file, 'nameserver 127.0.53.9\n')
  return file
}
