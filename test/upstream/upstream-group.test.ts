import { afterEach, describe, expect, test, vi } from 'vitest'
import type { BuiltInUpstream, Fault } from '../../src/doctor/built-in-upstream.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { parseTag, referenceOf } from '../../src/oci/reference.js'
import type { UpstreamOptions } from '../../src/upstream/registry-client.js'
import type { UpstreamGroup } from '../../src/upstream/upstream-group.js'
import { startBlackHole } from '../helpers/black-hole.js'
import {
  closeAll,
  closing,
  digestOfBody,
  groupOf,
  inRepository,
  REPOSITORY,
  startUpstream,
  upstreamOptions,
  Watch,
} from '../helpers/upstream.js'

afterEach(async () => {
  vi.useRealTimers()
  await closeAll()
})

const TAG = parseTag('latest')
const LATEST = referenceOf(TAG)
const ABSENT = `sha256:${'0'.repeat(64)}` as Digest

/** Two mirrors before an origin, all with the same image. */
async function start(options: Record<string, Partial<UpstreamOptions>> = {}) {
  const [m1, m2, hub] = await Promise.all([startUpstream(), startUpstream(), startUpstream()])
  const layer = Buffer.from('a layer')
  const images = [m1, m2, hub].map((upstream) => upstream.addImage(REPOSITORY, 'latest', { layers: [layer] }))
  const watch = new Watch()
  const urls = { m1: m1.url, m2: m2.url, hub: hub.url }
  const group = groupOf(
    Object.entries(urls).map(([name, url]) =>
      upstreamOptions(url, { name, role: name === 'hub' ? 'origin' : 'mirror', ...options[name] }),
    ),
    { watch },
  )
  return { m1, m2, hub, group, watch, manifest: images[0]?.manifest as Digest, layer: digestOf(layer) }
}

const standing = (group: UpstreamGroup, name: string) => group.states().find((upstream) => upstream.name === name)
const counts = (...upstreams: BuiltInUpstream[]) => upstreams.map(({ requests }) => requests.length)
const failWith = (upstream: BuiltInUpstream, fault: Fault) => {
  upstream.fault = () => fault
}

describe('who is asked', () => {
  test('for content by digest: the first in the configured order', async () => {
    const { group, manifest, m1, m2, hub } = await start()

    expect(await group.getManifest(REPOSITORY, referenceOf(manifest), { among: 'all' })).toMatchObject({
      upstream: 'm1',
    })
    expect(counts(m1, m2, hub)).toEqual([1, 0, 0])
  })

  test.each<[string, Record<string, Partial<UpstreamOptions>>, 'origins' | 'mirrors', string]>([
    ['for a tag: the origin', {}, 'origins', 'hub'],
    [
      'for a tag: a mirror that resolves always comes in its place of the order',
      { m2: { resolve: 'always' } },
      'origins',
      'm2',
    ],
    ['for a tag among mirrors: those that resolve as a fallback', { m1: { resolve: 'never' } }, 'mirrors', 'm2'],
    [
      'in a registry without origin: all in order',
      { hub: { role: 'mirror' }, m1: { resolve: 'never' } },
      'origins',
      'm2',
    ],
  ])('%s', async (_case, options, among, upstream) => {
    const { group, manifest } = await start(options)

    expect(await group.getManifest(REPOSITORY, LATEST, { among })).toMatchObject({ upstream, digest: manifest })
    expect(await group.headManifest(REPOSITORY, TAG, { among })).toMatchObject({ upstream, digest: manifest })
  })

  test('only those whose `allow` has the repository, and nobody is a refusal', async () => {
    const { group, layer } = await start({
      m1: { allow: ['other/*'] },
      m2: { allow: ['library/*'] },
      hub: { allow: ['library/*'] },
    })

    expect(await group.statBlob(REPOSITORY, layer)).toMatchObject({ upstream: 'm2', size: 7 })
    const failures = [{ kind: 'denied', message: expect.stringContaining('my/app') }]
    await expect(group.statBlob(inRepository('my/app'), layer)).rejects.toMatchObject({ failures })
  })

  test('for tags: the origin first, and mirrors when it fails', async () => {
    const { group, hub } = await start()
    expect(await group.listTags(REPOSITORY)).toEqual(['latest'])
    expect(hub.requests).toHaveLength(1)
    failWith(hub, { kind: 'status', status: 503 })

    expect(await group.listTags(REPOSITORY)).toEqual(['latest'])
  })
})

describe('failover', () => {
  test.each<[string, Fault]>([
    ['a reset', { kind: 'reset' }],
    ['silence', { kind: 'hang' }],
    ['500', { kind: 'status', status: 500 }],
    ['429', { kind: 'status', status: 429 }],
    ['402', { kind: 'status', status: 402 }],
    ['401', { kind: 'status', status: 401 }],
    ['403', { kind: 'status', status: 403 }],
    ['404', { kind: 'status', status: 404 }],
    ['a page', { kind: 'html' }],
    ['another manifest', { kind: 'flip', at: 1 }],
    ['half a manifest', { kind: 'cut', after: 20 }],
  ])('%s at a mirror: the next one answers', async (_case, fault) => {
    const { group, manifest, m1, m2 } = await start()
    failWith(m1, fault)

    expect(await group.getManifest(REPOSITORY, referenceOf(manifest), { among: 'all' })).toMatchObject({
      upstream: 'm2',
    })
    expect(counts(m1, m2)).toEqual([1, 1])
  })

  test('refused and TLS faults: the next one answers, and they are left alone from then on', async () => {
    const { hub, m1, manifest, watch } = await start()
    await m1.stop()
    const group = groupOf(
      [
        upstreamOptions(m1.url, { name: 'refusing', role: 'mirror' }),
        upstreamOptions(hub.url.replace('http:', 'https:'), { name: 'tls', role: 'mirror' }),
        upstreamOptions(hub.url),
      ],
      { watch },
    )

    expect(await group.getManifest(REPOSITORY, referenceOf(manifest), { among: 'all' })).toMatchObject({
      upstream: 'hub',
    })
    expect(watch.states).toEqual(['refusing open', 'tls open'])
  })

  test('a black hole costs one connect timeout, and nothing after', async () => {
    const hole = closing(await startBlackHole())
    const { hub, manifest } = await start()
    const group = groupOf([upstreamOptions(hole.url, { name: 'hole', role: 'mirror' }), upstreamOptions(hub.url)])
    const get = async () => {
      const beganAt = performance.now()
      await group.getManifest(REPOSITORY, referenceOf(manifest), { among: 'all' })
      return performance.now() - beganAt
    }

    const [first, second] = [await get(), await get()]

    expect(first).toBeGreaterThan(490)
    expect(first).toBeLessThan(1100)
    expect(second).toBeLessThan(100)
    expect(standing(group, 'hole')).toMatchObject({ state: 'open', reason: expect.stringContaining('500 ms') })
  })

  test('an origin’s 404 of a tag is the answer, at once', async () => {
    const { group, m1, m2 } = await start({ m1: { resolve: 'always' }, m2: { resolve: 'always' } })
    failWith(m1, { kind: 'status', status: 404 })
    failWith(m2, { kind: 'status', status: 503 })

    const asked = group.headManifest(REPOSITORY, parseTag('absent'), { among: 'origins' })

    await expect(asked).rejects.toMatchObject({ name: 'UpstreamError', kind: 'not-found', upstream: 'hub' })
  })

  test('an origin’s 404 of a digest is kept, and the others are asked as well', async () => {
    const { hub, m1 } = await start()
    failWith(m1, { kind: 'status', status: 503 })
    const group = groupOf([upstreamOptions(hub.url), upstreamOptions(m1.url, { name: 'm1', role: 'mirror' })])

    const asked = group.statBlob(REPOSITORY, ABSENT)

    const failures = [{ kind: 'not-found', authoritative: true }, { kind: 'down' }]
    await expect(asked).rejects.toMatchObject({ name: 'AllUpstreamsFailedError', absent: true, failures })
  })

  test('mirrors that do not have it say nothing for an origin that is left alone, and nobody waits for it', async () => {
    const { group, hub } = await start()
    await hub.stop()

    await expect(group.statBlob(REPOSITORY, ABSENT)).rejects.toMatchObject({ absent: false })
    await hub.start()
    await expect(group.statBlob(REPOSITORY, ABSENT)).rejects.toMatchObject({
      absent: false,
      failures: [{ kind: 'not-found' }, { kind: 'not-found' }, { kind: 'down', upstream: 'hub' }],
    })
    expect(counts(hub)).toEqual([0])
  })

  test('a mirror that refused a repository is not asked for its layers, but for other repositories', async () => {
    const { group, m1, layer } = await start()
    m1.fault = ({ path }) => (path.startsWith(`/v2/${REPOSITORY}/`) ? { kind: 'status', status: 403 } : undefined)

    for (let layers = 0; layers < 5; layers++)
      expect(await group.statBlob(REPOSITORY, layer)).toMatchObject({ upstream: 'm2' })

    expect(m1.requests).toHaveLength(1)
    expect(await group.statBlob(inRepository('library/other'), layer)).toMatchObject({ upstream: 'm1' })
    expect(standing(group, 'm1')).toMatchObject({ state: 'up' })
  })

  test('an answer that the caller will not have is taken of the next one, and held against nobody', async () => {
    const { group, manifest } = await start()
    const not = (upstream: string, digest: Digest) => upstream === 'm1' && digest === manifest

    expect(await group.getManifest(REPOSITORY, LATEST, { among: 'mirrors', not })).toMatchObject({ upstream: 'm2' })
    expect(standing(group, 'm1')).toMatchObject({ errors: 0, state: 'up' })
  })

  test('an aborted question ends with the signal’s reason, and asks nobody else', async () => {
    const { group, m1, m2, layer } = await start()
    failWith(m1, { kind: 'hang' })
    const leaving = new AbortController()
    const asked = group.statBlob(REPOSITORY, layer, leaving.signal)
    await expect.poll(() => m1.requests.length, { interval: 5 }).toBe(1)

    leaving.abort(new Error('left'))

    await expect(asked).rejects.toThrow('left')
    expect(counts(m2)).toEqual([0])
    expect(standing(group, 'm1')).toMatchObject({ state: 'up', errors: 0 })
  })
})

describe('an upstream that is left alone', () => {
  test('is asked all the same when there is nobody else, and its answer brings it back', async () => {
    const { hub, manifest } = await start()
    const group = groupOf([upstreamOptions(hub.url)])
    await hub.stop()
    await expect(group.headManifest(REPOSITORY, TAG, { among: 'origins' })).rejects.toMatchObject({
      failures: [{ kind: 'down' }],
    })
    expect([standing(group, 'hub')?.state, group.originReachable()]).toEqual(['open', false])

    await hub.start()

    expect(await group.headManifest(REPOSITORY, TAG, { among: 'origins' })).toMatchObject({ digest: manifest })
    expect([standing(group, 'hub')?.state, group.originReachable()]).toEqual(['up', true])
  })

  test('is found again by a probe of its own when its cool-down is over', async () => {
    const { hub } = await start()
    let now = Date.now()
    const watch = new Watch()
    const group = groupOf([upstreamOptions(hub.url)], { watch, now: () => now })
    await hub.stop()
    await expect(group.headManifest(REPOSITORY, TAG, { among: 'origins' })).rejects.toThrow()
    await hub.start()
    hub.requests = []

    now += 10_001
    expect(group.originReachable()).toBe(false)

    await expect.poll(() => group.originReachable()).toBe(true)
    expect(hub.asked).toEqual(['GET /v2/'])
    expect(watch.states).toEqual(['hub open', 'hub up'])
  })

  test('is not dialled beside a probe under way: requests wait for what it finds', async () => {
    const { hub } = await start()
    let now = Date.now()
    const group = groupOf([upstreamOptions(hub.url)], { now: () => now })
    await hub.stop()
    await expect(group.headManifest(REPOSITORY, TAG, { among: 'origins' })).rejects.toThrow()
    await hub.start()
    failWith(hub, { kind: 'hang' })
    hub.requests = []
    now += 10_001

    const asked = await Promise.allSettled(
      Array.from({ length: 5 }, () => group.headManifest(REPOSITORY, TAG, { among: 'origins' })),
    )

    expect(asked.map(({ status }) => status)).toEqual(Array(5).fill('rejected'))
    expect(hub.asked).toEqual(['GET /v2/'])
  })

  test('with 401 on its base is alive: no token is fetched for a probe', async () => {
    const hub = await startUpstream({ auth: { kind: 'bearer' } })
    let now = Date.now()
    const group = groupOf([upstreamOptions(hub.url)], { now: () => now })
    await hub.stop()
    await expect(group.headManifest(REPOSITORY, TAG, { among: 'origins' })).rejects.toThrow()
    await hub.start()
    now += 10_001

    await expect.poll(() => group.originReachable()).toBe(true)

    expect(hub.tokenRequests).toBe(0)
  })
})

describe('states', () => {
  test('tell requests, errors, bytes, speed and what is left of the quota', async () => {
    const { m1 } = await start()
    const digest = m1.addBlob(500_000)
    const watch = new Watch()
    const group = groupOf([upstreamOptions(m1.url, { name: 'm1' })], { watch })
    const stream = await group.openTransfer(REPOSITORY, digest).next(0)
    await digestOfBody(stream.body, digest)
    failWith(m1, {
      kind: 'status',
      status: 429,
      headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600', 'retry-after': '3' },
    })
    await expect(group.statBlob(REPOSITORY, digest)).rejects.toThrow()

    const [state] = group.states()

    expect(state).toMatchObject({
      name: 'm1',
      role: 'origin',
      state: 'limited',
      reason: 'answered 429',
      requests: 2,
      errors: 1,
      bytes: 500_000,
      rateLimit: { limit: 100, remaining: 0, windowSeconds: 21600 },
    })
    expect(state?.bytesPerSecond).toBeGreaterThan(0)
    expect(watch.heard.map(({ name }) => name)).toEqual([
      'upstream.answered',
      'upstream.received',
      'upstream.answered',
      'upstream.failed',
      'upstream.state',
    ])
  })
})
