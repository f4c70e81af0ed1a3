import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../src/oci/digest.js'
import { blobKey } from '../../src/storage/layout.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

describe('a tag', () => {
  let hub: BuiltInUpstream
  let lagging: BuiltInUpstream
  let mirror: Mirror
  let clock: { now: number }

  beforeEach(async () => {
    clock = { now: Date.UTC(2030, 0, 1) }
    hub = await startUpstream()
    lagging = await startUpstream()
    mirror = await start()
  })
  afterEach(closeAll)

  const start = (storage?: string, tags: Record<string, unknown> = {}) =>
    startMirror({
      registries: {
        'docker.io': registry(
          [
            { name: 'lagging', url: lagging.url },
            { name: 'hub', url: hub.url, role: 'origin' },
          ],
          { tags: { ttl: '5m', staleIfError: '30d', originHold: '24h', ...tags } },
        ),
      },
      now: () => clock.now,
      ...(storage ? { storage } : {}),
    })

  /** The same images everywhere; what differs is where the tag points. */
  function images() {
    const contents = ['old', 'new', 'newest'].map((text) => Buffer.from(text))
    const [old, fresh, newest] = contents.map((layer) => {
      const image = hub.addImage('library/app', undefined, { layers: [layer] })
      lagging.addImage('library/app', undefined, { layers: [layer] })
      return image.manifest
    }) as [Digest, Digest, Digest]
    const point = (upstream: BuiltInUpstream, digest: string) =>
      upstream.setTag('library/app', 'latest', digest as never)
    return { old, fresh, newest, point }
  }

  const pull = () => mirror.manifest('library/app', 'latest')
  const tagRequests = (upstream: BuiltInUpstream) => upstream.asked.filter((line) => line.endsWith('/manifests/latest'))

  test('costs nothing within its TTL, and one HEAD after it when it has not moved', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    clock.now += 4 * MINUTE
    await pull()
    const within = tagRequests(hub)
    clock.now += 2 * MINUTE

    const after = await pull()

    expect(within).toEqual(['GET /v2/library/app/manifests/latest'])
    expect(tagRequests(hub).slice(1)).toEqual(['HEAD /v2/library/app/manifests/latest'])
    expect(after).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'hit' } })
  })

  test('that has moved is fetched by its new digest', async () => {
    const { old, fresh, point } = images()
    point(hub, old)
    await pull()
    point(hub, fresh)
    clock.now += 6 * MINUTE

    expect(await pull()).toMatchObject({ digest: fresh, headers: { 'x-cache': 'miss' } })
    expect(tagRequests(hub)).toEqual(['GET /v2/library/app/manifests/latest', 'HEAD /v2/library/app/manifests/latest'])
  })

  test('a hundred clients of one expired tag cost one request', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    clock.now += 6 * MINUTE

    const got = await Promise.all(Array.from({ length: 100 }, () => mirror.head('/v2/library/app/manifests/latest')))

    expect(new Set(got.map(({ headers }) => headers['docker-content-digest']))).toEqual(new Set([fresh]))
    expect(tagRequests(hub)).toHaveLength(2)
  })

  test('is resolved by the origin though a mirror before it has an older one, whose content may serve', async () => {
    const { old, fresh, point } = images()
    point(lagging, old)
    point(hub, fresh)

    expect((await pull()).digest).toBe(fresh)
    expect(tagRequests(lagging)).toEqual([])
  })

  test('that is unknown is resolved by a mirror while the origin is out of reach, and asked of the origin when it is back', async () => {
    const { old, fresh, point } = images()
    point(lagging, old)
    point(hub, fresh)
    await hub.stop()
    expect(await pull()).toMatchObject({ digest: old, headers: { 'x-cache-source': 'lagging' } })

    await hub.start()
    clock.now += 3 * MINUTE

    await expect.poll(async () => (await pull()).digest, { timeout: 15_000, interval: 300 }).toBe(fresh)
  })

  test('that a mirror resolved and the origin then resolves otherwise is logged with both digests', async () => {
    const { old, fresh, point } = images()
    point(lagging, old)
    point(hub, fresh)
    hub.fault = () => ({ kind: 'status', status: 429, headers: { 'retry-after': '60' } })
    await pull()
    hub.fault = undefined
    clock.now += 2 * MINUTE

    const got = await pull()

    expect(got.digest).toBe(fresh)
    expect(mirror.log.filter(({ msg }) => msg === 'upstreams differ on what a tag is')).toMatchObject([
      {
        tag: 'latest',
        digest: fresh,
        words: [
          { upstream: 'hub', digest: fresh },
          { upstream: 'lagging', digest: old },
        ],
      },
    ])
  })

  test('is asked for as its own rule says: never again, at every pull, or as all others', async () => {
    const { old, fresh } = images()
    await mirror.close()
    const rules = [
      { match: 'v*', immutable: true },
      { match: 'nightly*', repository: 'library/*', ttl: '0s' },
    ]
    mirror = await start(mirror.storage, { rules })
    const names = ['v1.2', 'nightly-3', 'latest']
    for (const tag of names) hub.setTag('library/app', tag, old)
    for (const tag of names) await mirror.manifest('library/app', tag)
    for (const tag of names) hub.setTag('library/app', tag, fresh)
    const digests = async () => {
      const got = await Promise.all(names.map((tag) => mirror.manifest('library/app', tag)))
      return got.map(({ digest }) => digest)
    }
    hub.requests = []

    const atOnce = await digests()
    clock.now += 60 * 24 * HOUR
    const muchLater = await digests()

    expect(atOnce).toEqual([old, fresh, old])
    expect(muchLater).toEqual([old, fresh, fresh])
    expect(hub.asked.filter((line) => line.endsWith('/v1.2'))).toEqual([])
    expect(hub.asked.filter((line) => line.endsWith('/nightly-3'))).toHaveLength(2)
  })

  test('is served at once while it is asked for, within staleWhileRevalidate and not beyond', async () => {
    const { old, fresh, newest, point } = images()
    await mirror.close()
    mirror = await start(mirror.storage, { staleWhileRevalidate: '1h' })
    point(hub, old)
    await pull()
    point(hub, fresh)
    clock.now += 6 * MINUTE

    const meanwhile = await pull()
    await expect.poll(async () => (await pull()).digest).toBe(fresh)
    point(hub, newest)
    clock.now += 2 * HOUR
    const beyond = await pull()

    expect(meanwhile).toMatchObject({ status: 200, digest: old, headers: { 'x-cache': 'stale' } })
    expect(meanwhile.headers.warning).toMatch(/^110 entrepot "being checked; last checked 2030/)
    expect(beyond).toMatchObject({ digest: newest, headers: { 'x-cache': 'miss' } })
  })

  describe('F37: asked for with Cache-Control: no-cache', () => {
    const refresh = (headers: Record<string, string> = {}) =>
      mirror.get('/v2/library/app/manifests/latest', { 'cache-control': 'max-age=0, No-Cache', ...headers })

    test('is checked within its TTL, once, and the next pull sees what it is now', async () => {
      const { old, fresh, point } = images()
      await mirror.close()
      const rules = [{ match: 'latest', immutable: true }]
      mirror = await start(mirror.storage, { staleWhileRevalidate: '1h', rules })
      point(hub, old)
      await pull()
      point(hub, fresh)
      hub.requests = []

      const refreshed = await refresh()
      const next = await pull()

      expect(refreshed).toMatchObject({ digest: fresh, headers: { 'x-cache': 'miss' } })
      expect(next).toMatchObject({ digest: fresh, headers: { 'x-cache': 'hit' } })
      expect(tagRequests(hub)).toEqual(['HEAD /v2/library/app/manifests/latest'])
    })

    test('costs one request for all who do at a time', async () => {
      const { fresh, point } = images()
      point(hub, fresh)
      await pull()
      hub.requests = []
      hub.fault = () => ({ kind: 'delay', ms: 100 })

      await Promise.all(Array.from({ length: 20 }, () => refresh()))

      expect(tagRequests(hub)).toHaveLength(1)
    })

    test('is asked for again although the origin has said that there is none', async () => {
      const { fresh, point } = images()
      const before = await pull()
      point(hub, fresh)
      const remembered = await pull()

      expect([before.status, remembered.status]).toEqual([404, 404])
      expect(await refresh()).toMatchObject({ status: 200, digest: fresh })
      expect((await pull()).status).toBe(200)
    })

    test('is served stale when nobody answers', async () => {
      const { fresh, point } = images()
      point(hub, fresh)
      await pull()
      await hub.stop()

      expect(await refresh()).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
    })

    test('by one who may not push is served as to everybody', async () => {
      const { old, fresh, point } = images()
      point(hub, old)
      await pull()
      point(hub, fresh)
      hub.requests = []

      const got = await refresh({ 'x-forwarded-for': '192.0.2.1' })

      expect(got).toMatchObject({ digest: old, headers: { 'x-cache': 'hit' } })
      expect(hub.asked).toEqual([])
    })
  })

  test('that an origin resolved stands, marked stale, while the origin is away, and never goes back to what it was', async () => {
    const { old, fresh, newest, point } = images()
    point(hub, old)
    await pull()
    point(hub, fresh)
    clock.now += 6 * MINUTE
    await pull()
    point(lagging, old)
    await hub.stop()
    clock.now += 6 * MINUTE

    const held = await pull()
    clock.now += 25 * HOUR
    const afterHold = await pull()
    point(lagging, newest)
    const moved = await pull()

    expect(held).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
    expect(held.headers.warning).toMatch(/^111 entrepot "/)
    expect(afterHold.digest).toBe(fresh)
    expect(moved.digest).toBe(newest)
  })

  test('that no mirror and no origin can resolve is 503, not 404, while the origin is away', async () => {
    await hub.stop()

    expect((await pull()).status).toBe(503)
  })

  test('is served stale after the budget for that when the origin has gone silent', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }], { tags: { ttl: '5m' } }) },
      settings: { upstream: { timeouts: { firstByte: '1m' }, revalidationBudget: '500ms' } },
      now: () => clock.now,
    })
    await pull()
    hub.fault = () => ({ kind: 'hang' })
    clock.now += 6 * MINUTE

    const got = await pull()

    expect(got).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
    // It has not been given up: nobody waited for the end of its own limit.
    expect((await mirror.stats()).upstreams.find(({ name }) => name === 'hub')).toMatchObject({ errors: 0 })
  })

  test('is waited for once while an origin is silent: who comes after that is served stale at once', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }], { tags: { ttl: '5m' } }) },
      settings: { upstream: { timeouts: { firstByte: '1m' }, revalidationBudget: '4s' } },
      now: () => clock.now,
    })
    await pull()
    clock.now += 6 * MINUTE
    hub.fault = () => ({ kind: 'hang' })
    await pull()
    const startedAt = performance.now()

    const got = await Promise.all([pull(), pull(), pull()])

    expect(performance.now() - startedAt).toBeLessThan(4000)
    for (const each of got) expect(each).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
  })

  test('whose manifest was evicted is served stale by its digest from a mirror while the origin is silent', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    await mirror.close()
    await rm(join(mirror.storage, 'data', blobKey(fresh)))
    mirror = await start(mirror.storage)
    hub.fault = () => ({ kind: 'hang' })
    clock.now += HOUR

    expect(await pull()).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
  })

  test('whose manifest was evicted and that nobody can give is an error that says why', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    await mirror.close()
    await rm(join(mirror.storage, 'data', blobKey(fresh)))
    mirror = await start(mirror.storage)
    await hub.stop()
    await lagging.stop()
    clock.now += HOUR

    const got = await pull()

    expect(got.status).toBe(503)
    expect(JSON.parse(got.text)).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] })
  })

  test('is served stale when everybody answers 429, and not once it is too old', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    for (const upstream of [hub, lagging]) upstream.fault = () => ({ kind: 'status', status: 429 })
    clock.now += 6 * MINUTE
    const stale = await pull()
    clock.now += 31 * 24 * HOUR

    expect(stale).toMatchObject({ status: 200, headers: { 'x-cache': 'stale' } })
    expect((await pull()).status).toBe(429)
  })

  test('that the origin has deleted is still served, marked stale', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    hub.removeTag('library/app', 'latest')
    clock.now += 6 * MINUTE

    expect(await pull()).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'stale' } })
  })

  describe('F35: that the origin has deleted, with whenGone: forget', () => {
    let fresh: Digest
    beforeEach(async () => {
      await mirror.close()
      mirror = await start(mirror.storage, { whenGone: 'forget', rules: [{ match: 'v*', whenGone: 'serve' }] })
      const all = images()
      fresh = all.fresh
      for (const upstream of [hub, lagging]) all.point(upstream, fresh)
      hub.setTag('library/app', 'v1', fresh)
      await pull()
      await mirror.manifest('library/app', 'v1')
    })

    const remove = (tag = 'latest') => {
      hub.removeTag('library/app', tag)
      hub.requests = []
      clock.now += 6 * MINUTE
    }

    test('is 404, remembered, and what it was is still there by digest', async () => {
      remove()

      const got = [await pull(), await pull()]

      expect(got.map(({ status }) => status)).toEqual([404, 404])
      expect(hub.asked).toEqual(['HEAD /v2/library/app/manifests/latest'])
      expect(await mirror.manifest('library/app', fresh)).toMatchObject({ status: 200, digest: fresh })
    })

    test('stays forgotten over a restart, and is new when it is there again', async () => {
      remove()
      await pull()
      await mirror.close()
      mirror = await start(mirror.storage)
      const afterwards = await pull()
      hub.setTag('library/app', 'latest', fresh)
      clock.now += 6 * MINUTE

      expect(afterwards.status).toBe(404)
      expect(await pull()).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'miss' } })
    })

    test('but for a rule that says otherwise is served stale', async () => {
      remove('v1')

      expect(await mirror.manifest('library/app', 'v1')).toMatchObject({ status: 200, headers: { 'x-cache': 'stale' } })
    })

    test('is not what an outage is, nor a tag whose new manifest cannot be had', async () => {
      clock.now += 6 * MINUTE
      hub.setTag('library/app', 'latest', `sha256:${'0'.repeat(64)}` as Digest)
      hub.fault = ({ method, path }) => {
        const headers = { 'docker-content-digest': `sha256:${'0'.repeat(64)}` }
        return method === 'HEAD' && path.endsWith('latest') ? { kind: 'status', status: 200, headers } : undefined
      }
      const halfMoved = await pull()
      await Promise.all([hub.stop(), lagging.stop()])

      expect([halfMoved, await pull()]).toMatchObject([
        { status: 200, digest: fresh, headers: { 'x-cache': 'stale' } },
        { status: 200, digest: fresh, headers: { 'x-cache': 'stale' } },
      ])
    })

    test('is 404 from the next pull on where the old one was served meanwhile', async () => {
      await mirror.close()
      mirror = await start(mirror.storage, { whenGone: 'forget', staleWhileRevalidate: '1h' })
      remove()

      const meanwhile = await pull()

      expect(meanwhile).toMatchObject({ status: 200, headers: { 'x-cache': 'stale' } })
      await expect.poll(async () => (await pull()).status).toBe(404)
    })
  })

  test('is still known after a restart with every upstream gone', async () => {
    const { fresh, point } = images()
    point(hub, fresh)
    await pull()
    await mirror.close()
    await Promise.all([hub.stop(), lagging.stop()])
    mirror = await start(mirror.storage)

    expect(await pull()).toMatchObject({ status: 200, digest: fresh, headers: { 'x-cache': 'hit' } })
  })

  test.each([-HOUR, HOUR])('a clock that jumps by %i ms neither expires nor freezes it', async (jump) => {
    const { old, fresh, point } = images()
    point(hub, old)
    await pull()
    point(hub, fresh)
    clock.now += jump
    const afterJump = await pull()
    clock.now += 24 * HOUR

    expect(afterJump.status).toBe(200)
    expect((await pull()).digest).toBe(fresh)
  })
})

describe('an unknown tag while the origin is out of reach', () => {
  let mirrors: [BuiltInUpstream, BuiltInUpstream, BuiltInUpstream, BuiltInUpstream]
  let hub: BuiltInUpstream
  let mirror: Mirror
  let clock: { now: number }
  const [old, fresh] = ['old', 'new'] as const
  let digests: Record<'old' | 'new', Digest>

  beforeEach(async () => {
    clock = { now: Date.UTC(2030, 0, 1) }
    hub = await startUpstream()
    mirrors = [await startUpstream(), await startUpstream(), await startUpstream(), await startUpstream()]
    const added = mirrors.map((each) => ({
      old: each.addImage('library/app', undefined, { layers: [Buffer.from(old)] }).manifest,
      new: each.addImage('library/app', undefined, { layers: [Buffer.from(fresh)] }).manifest,
    }))
    digests = added[0]!
    const upstreams = mirrors.map(({ url }, at) => ({ name: `m${at + 1}`, url }))
    mirror = await startMirror({
      registries: { 'docker.io': registry([...upstreams, { name: 'hub', url: hub.url, role: 'origin' }]) },
      now: () => clock.now,
    })
    await hub.stop()
  })
  afterEach(closeAll)

  /** What each mirror has the tag at, in order; the last is asked only when the others have failed. */
  const point = (...where: ('old' | 'new' | undefined)[]) => {
    for (const [at, each] of where.entries()) if (each) mirrors[at]!.setTag('library/app', 'latest', digests[each])
  }
  const pull = () => mirror.manifest('library/app', 'latest')
  const differences = () => mirror.log.filter(({ msg }) => msg === 'upstreams differ on what a tag is')
  const asked = () => mirrors.map((each) => each.count(/^HEAD .*latest$/))

  test('is what most of three mirrors say, and the difference is logged once with both digests', async () => {
    point('old', 'new', 'new', 'old')

    const got = await pull()
    clock.now += 6 * MINUTE
    const later = await pull()

    expect([got.digest, later.digest]).toEqual([digests.new, digests.new])
    expect(mirrors[3].requests).toEqual([])
    const logged = differences()
    expect(logged).toHaveLength(1)
    expect(JSON.stringify(logged)).toContain(digests.old)
    expect(JSON.stringify(logged)).toContain(digests.new)
  })

  test('is what the first says where as many say one as the other', async () => {
    point('old', 'new')

    expect((await pull()).digest).toBe(digests.old)
  })

  test('does not wait for a mirror that says nothing once two agree', async () => {
    mirrors[0].fault = ({ method }) => (method === 'HEAD' ? { kind: 'hang' } : undefined)
    point('old', 'new', 'new')

    expect((await pull()).digest).toBe(digests.new)
    expect(asked()).toEqual([1, 1, 1, 0])
  })

  test('is the next best where the digest that was named cannot be had', async () => {
    for (const each of mirrors) {
      each.fault = ({ method, path }) =>
        method === 'GET' && path.includes(digests.new) ? { kind: 'status', status: 404 } : undefined
    }
    point('new', 'old')

    expect((await pull()).digest).toBe(digests.old)
  })

  test('is asked of those that are left when the three have not got it', async () => {
    point(undefined, undefined, undefined, 'new')

    expect((await pull()).digest).toBe(digests.new)
  })

  test('once known is never moved back by mirrors that agree on what it was', async () => {
    point('old', 'old', 'old')
    await pull()
    point('new', 'new', 'new')
    clock.now += 6 * MINUTE
    const moved = await pull()
    point('old', 'old', 'old')
    clock.now += 6 * MINUTE

    expect(moved.digest).toBe(digests.new)
    expect(await pull()).toMatchObject({ status: 200, digest: digests.new })
  })
})

describe('F30: a tag of two origins', () => {
  let first: BuiltInUpstream
  let second: BuiltInUpstream
  let mirror: Mirror
  let clock: { now: number }
  let digests: [Digest, Digest, Digest]

  beforeEach(async () => {
    clock = { now: Date.UTC(2030, 0, 1) }
    first = await startUpstream()
    second = await startUpstream()
    const add = (upstream: BuiltInUpstream) =>
      ['a', 'b', 'c'].map(
        (text) => upstream.addImage('library/app', undefined, { layers: [Buffer.from(text)] }).manifest,
      )
    digests = add(first) as typeof digests
    add(second)
    mirror = await start()
  })
  afterEach(closeAll)

  const start = (prefetch: Record<string, unknown> = {}) =>
    startMirror({
      registries: {
        'docker.io': registry([
          { name: 'first', url: first.url, role: 'origin' },
          { name: 'second', url: second.url, role: 'origin' },
        ]),
      },
      settings: { prefetch },
      now: () => clock.now,
    })
  const point = (...where: [BuiltInUpstream, Digest][]) => {
    for (const [upstream, digest] of where) upstream.setTag('library/app', 'latest', digest)
  }
  const pull = async (after = 6 * MINUTE) => {
    clock.now += after
    return (await mirror.manifest('library/app', 'latest')).digest
  }
  const limit = (upstream: BuiltInUpstream) => {
    upstream.fault = () => ({ kind: 'status', status: 429, headers: { 'retry-after': '60' } })
  }
  const differences = () => mirror.log.filter(({ msg }) => msg === 'upstreams differ on what a tag is')

  test('is what the first says, and the second is not asked', async () => {
    const [a, b, c] = digests
    point([first, a], [second, b])
    const before = [await pull(), await pull()]
    point([first, c])

    expect([...before, await pull(), await pull()]).toEqual([a, a, c, c])
    expect(second.asked).toEqual([])
  })

  test('that the second has otherwise is counted and logged with both digests once the first is back', async () => {
    const [a, b] = digests
    point([first, a], [second, b])
    const before = await pull()
    limit(first)
    const meanwhile = await pull()
    first.fault = undefined
    second.requests = []

    const back = [await pull(), await pull()]

    expect([before, meanwhile, ...back]).toEqual([a, b, a, a])
    await expect.poll(async () => (await mirror.stats()).tags).toEqual({ diverged: 1 })
    expect(differences()).toMatchObject([
      {
        tag: 'latest',
        digest: a,
        words: [
          { upstream: 'first', digest: a },
          { upstream: 'second', digest: b },
        ],
      },
    ])
    expect(second.asked).toEqual(['HEAD /v2/library/app/manifests/latest'])
  })

  test('that has only moved meanwhile is no difference', async () => {
    const [a, b, c] = digests
    point([first, a], [second, a])
    await pull()
    limit(first)
    point([first, b], [second, b])
    await pull()
    first.fault = undefined
    point([first, c], [second, c])
    second.requests = []

    expect(await pull()).toBe(c)
    await expect.poll(() => second.requests.map(({ status }) => status)).toEqual([200])
    expect(await pull()).toBe(c)
    expect((await mirror.stats()).tags).toEqual({ diverged: 0 })
  })

  test('that is pulled often has the second heard when it is checked', async () => {
    await mirror.close()
    mirror = await start({ hotTags: true })
    const [a, b] = digests
    point([first, a], [second, b])
    for (const after of [0, 0, 0]) await pull(after)
    clock.now += 4.6 * MINUTE

    await expect.poll(async () => (await mirror.stats()).tags, { timeout: 10_000 }).toEqual({ diverged: 1 })

    expect(await pull(0)).toBe(a)
    expect(second.asked).toEqual(['HEAD /v2/library/app/manifests/latest'])
  })
})
