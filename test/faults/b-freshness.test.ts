import { expect, test } from 'vitest'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { fetchManifest, headTag, pull } from './client.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'b-freshness', upstreams: ['a', 'hub'] })

const MINUTE_MS = 60_000
/** Beyond the default TTL of tags, 5 minutes. */
const TTL_OVER_MS = 6 * MINUTE_MS

const lines = ({ asked }: FaultProxy) => asked.map(({ line }) => line)

test('F31 a tag moves: within its TTL nothing is asked, after it the new digest is served', async () => {
  const repository = 'library/moves'
  const image = await stage.image({ repository })
  const hub = stage.proxy('hub')
  const mirror = await stage.mirror({ upstreams: ['hub'] })
  await pull(mirror.url, image)

  let last = image
  for (const _time of ['first', 'again']) {
    const next = await stage.image({ repository })
    hub.forget()
    await mirror.later(4 * MINUTE_MS)
    const within = await pull(mirror.url, last)
    const asked = lines(hub)
    await mirror.later(2 * MINUTE_MS)
    const after = await pull(mirror.url, next)

    expect([within.manifest, within.config, ...within.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
    expect(asked).toEqual([])
    expect(after.layers[0]!.cache).toBe('miss')
    expect(lines(hub).slice(0, 2)).toEqual([
      `HEAD /v2/${repository}/manifests/latest`,
      `GET /v2/${repository}/manifests/${next.digest}`,
    ])
    last = next
  }
})

test('F32 the check of an old tag hangs: the last answer is served within the budget, and the check goes on', async () => {
  const repository = 'library/hangs'
  const old = await stage.image({ repository })
  const hub = stage.proxy('hub')
  const timeouts = { connect: '500ms', firstByte: '10s', idle: '10s' }
  const settings = { upstream: { timeouts, revalidationBudget: '500ms' } }
  const mirror = await stage.mirror({ upstreams: ['hub'], settings })
  await pull(mirror.url, old)
  const next = await stage.image({ repository })
  await mirror.later(TTL_OVER_MS)
  hub.forget()
  hub.inject({ kind: 'delay', ms: 4000 }, { method: 'HEAD' }, 1)

  const stale = await fetchManifest(mirror.url, old)
  const late = hub.asked.map(({ state }) => state)

  expect(stale.cache).toBe('stale')
  expect(stale.headers.warning).toContain('not revalidated')
  expect(late).toEqual(['answering'])
  const refreshed = () => hub.asked.find(({ reference }) => reference === next.digest)?.state
  await expect.poll(refreshed, { timeout: 10_000 }).toBe('done')
  await expect.poll(async () => (await mirror.read(`/v2/${repository}/manifests/latest`)).digest).toBe(next.digest)
  expect(hub.asked.filter(({ reference }) => reference === 'latest')).toHaveLength(1)

  await hub.heal()
  const newest = await stage.image({ repository })
  await mirror.later(TTL_OVER_MS)
  expect((await pull(mirror.url, newest)).layers[0]!.cache).toBe('miss')
})

test('F36 a hundred clients ask for an old tag at once: one request upstream', async () => {
  const image = await stage.image()
  const hub = stage.proxy('hub')
  const mirror = await stage.mirror({ upstreams: ['hub'] })
  await pull(mirror.url, image)

  for (const _time of ['first', 'again']) {
    await mirror.later(TTL_OVER_MS)
    hub.forget()
    // So slow that all of them have come before there is an answer.
    const slow = hub.inject({ kind: 'delay', ms: 500 }, { method: 'HEAD' })
    await Promise.all(Array.from({ length: 100 }, () => headTag(mirror.url, image)))
    slow.end()
    expect(lines(hub)).toEqual([`HEAD /v2/${image.repository}/manifests/latest`])
  }
})

test('F37 an operator asks for a tag anew: its TTL is passed over once, and the next pull sees the result', async () => {
  const repository = 'library/refreshed'
  const image = await stage.image({ repository })
  const hub = stage.proxy('hub')
  const mirror = await stage.mirror({ upstreams: ['hub'] })
  const path = `/v2/${repository}/manifests/latest`
  const refresh = () => mirror.read(path, { 'cache-control': 'no-cache' }, 'HEAD')
  await pull(mirror.url, image)

  for (const _time of ['first', 'again']) {
    const next = await stage.image({ repository })
    hub.forget()
    const told = await refresh()
    const asked = lines(hub)
    hub.forget()
    await pull(mirror.url, next)

    expect(told.headers['docker-content-digest']).toBe(next.digest)
    expect(asked).toEqual([`HEAD ${path}`, `GET /v2/${repository}/manifests/${next.digest}`])
    expect(hub.asked.filter(({ kind }) => kind === 'manifest')).toEqual([])
  }
})

// The clock of the mirror's process is set (what Date.now tells there): that of the machine is everybody's.
const JUMPS: [string, number][] = [
  ['ahead', 60 * MINUTE_MS],
  ['back', -60 * MINUTE_MS],
]

test.each(JUMPS)('F40 the clock jumps an hour %s: content stays, tags are asked for, rests end', async (way, jump) => {
  const repository = `library/clock-${way}`
  const image = await stage.image({ repository })
  const [second, third] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  await pull(mirror.url, image)
  const limit = a.inject({ kind: 'status', status: 429, headers: { 'retry-after': '60' } })
  await pull(mirror.url, second!)
  limit.end()
  expect((await mirror.standing('a')).state).toBe('limited')

  for (const [ms, fresh] of [
    [jump, third!],
    [-jump, await stage.image()],
  ] as const) {
    await mirror.later(ms)
    for (const proxy of stage.proxies) proxy.forget()
    const kept = await Promise.all([image.config, ...image.layers].map(({ digest }) => blob(digest)))
    const manifest = await fetchManifest(mirror.url, image, image.digest)
    expect([manifest, ...kept].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
    expect(stage.proxies.flatMap(lines)).toEqual([])
    expect((await mirror.stats()).cache.evictions).toBe(0)

    await mirror.later(TTL_OVER_MS)
    const moved = await stage.image({ repository })
    expect((await pull(mirror.url, moved)).manifest.digest).toBe(moved.digest)
    // Who is quicker at the time is not the point: the rest of `a` has ended.
    await pull(mirror.url, fresh)
    await mirror.untilBack('a')
  }

  function blob(digest: string) {
    return mirror.read(`/v2/${repository}/blobs/${digest}`)
  }
})
