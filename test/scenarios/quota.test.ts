import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, type Fault, startUpstream } from '../helpers/upstream.js'

const MINUTE = 60_000

describe('an origin that counts pulls', () => {
  let hub: BuiltInUpstream
  let nju: BuiltInUpstream
  let mirror: Mirror
  let clock: { now: number }
  let image: Digest

  beforeEach(async () => {
    clock = { now: Date.UTC(2030, 0, 1) }
    hub = await startUpstream()
    nju = await startUpstream()
    const layers = [Buffer.from('a layer')]
    image = hub.addImage('library/app', 'latest', { layers }).manifest
    nju.addImage('library/app', 'latest', { layers })
    mirror = await startMirror({
      registries: {
        'docker.io': registry(
          [
            { name: 'hub', url: hub.url, role: 'origin' },
            { name: 'nju', url: nju.url },
          ],
          { tags: { ttl: '5m' } },
        ),
      },
      now: () => clock.now,
    })
  })
  afterEach(closeAll)

  /** From the next answer on. */
  const left = (remaining: number) => {
    // A 404 tells it as well as any other answer.
    hub.fault = ({ path }) =>
      path.endsWith('/manifests/none')
        ? {
            kind: 'status',
            status: 404,
            headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': `${remaining};w=21600` },
          }
        : undefined
    return mirror.manifest('library/app', 'none')
  }
  const manifestsAsked = (upstream: BuiltInUpstream) =>
    upstream.asked.filter((line) => line.includes('/manifests/') && !line.endsWith('/none'))
  const standing = async () => (await mirror.stats()).upstreams.find(({ name }) => name === 'hub')

  test('is asked for manifests first while it has enough left', async () => {
    await left(11)

    await mirror.manifest('library/app', image)

    expect(manifestsAsked(hub)).toEqual([`GET /v2/library/app/manifests/${image}`])
    expect(await standing()).toMatchObject({ rateLimit: { limit: 100, remaining: 11, windowSeconds: 21_600 } })
  })

  test('F145: with little left gives its word by HEAD, and others the manifests', async () => {
    await left(10)

    const got = await mirror.manifest('library/app', 'latest')

    expect(got).toMatchObject({ status: 200, digest: image })
    expect(manifestsAsked(hub)).toEqual(['HEAD /v2/library/app/manifests/latest'])
    expect(manifestsAsked(nju)).toEqual([`GET /v2/library/app/manifests/${image}`])
    expect(await standing()).toMatchObject({ state: 'up', rateLimit: { remaining: 10 } })
  })

  test('with little left is asked for what nobody else has', async () => {
    await left(1)
    const rare = hub.addImage('library/rare', 'latest', { layers: [Buffer.from('rare')] }).manifest

    expect(await mirror.manifest('library/rare', 'latest')).toMatchObject({ status: 200, digest: rare })
    expect(manifestsAsked(nju)).toEqual([`GET /v2/library/rare/manifests/${rare}`])
  })

  test('with little left is asked for a known tag a quarter as often', async () => {
    await mirror.manifest('library/app', 'latest')
    await left(5)
    const asked = async (after: number) => {
      clock.now += after
      await mirror.manifest('library/app', 'latest')
      return manifestsAsked(hub).length
    }

    expect([await asked(6 * MINUTE), await asked(13 * MINUTE), await asked(2 * MINUTE)]).toEqual([1, 1, 2])
  })

  test('F8: that is limited is not asked while it rests, and the client sees nothing of it', async () => {
    hub.fault = () => ({ kind: 'status', status: 429, headers: { 'retry-after': '30' } })
    const first = await mirror.manifest('library/app', 'latest')
    const asked = hub.requests.length
    clock.now += 29_000
    const second = await mirror.manifest('library/app', 'latest')

    expect([first.status, second.status]).toEqual([200, 200])
    expect(hub.requests).toHaveLength(asked)
    expect(await standing()).toMatchObject({ state: 'limited' })
  })
})

describe('F10: everybody limited and nothing cached', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  let rare: { manifest: Digest; layer: Digest }

  beforeEach(async () => {
    hub = await startUpstream()
    const layer = Buffer.from('rare')
    const image = hub.addImage('library/app', 'latest', { layers: [layer] })
    rare = { manifest: image.manifest, layer: hub.addBlob(layer) }
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })
  })
  afterEach(closeAll)

  /** The first request is answered 429. */
  const limitOnce = (retryAfter: string) => {
    let asked = 0
    hub.fault = () =>
      asked++ === 0 ? { kind: 'status', status: 429, headers: { 'retry-after': retryAfter } } : undefined
  }

  test.each<[string, () => string]>([
    ['tag', () => '/v2/library/app/manifests/latest'],
    ['manifest', () => `/v2/library/app/manifests/${rare.manifest}`],
    ['blob', () => `/v2/library/app/blobs/${rare.layer}`],
  ])('a %s waits for a short rest to end, and is asked for once more', async (_case, path) => {
    limitOnce('1')

    const got = await mirror.get(path())

    expect(got.status).toBe(200)
    expect(hub.requests.map(({ status }) => status)).toEqual([429, 200])
  })

  test('a rest beyond the budget is 429 with Retry-After at once, and nobody is asked until it is over', async () => {
    limitOnce('30')

    const got = [
      await mirror.manifest('library/app', 'latest'),
      await mirror.manifest('library/app', 'latest'),
      await mirror.blob('library/app', rare.layer),
    ]

    expect(got.map(({ status }) => status)).toEqual([429, 429, 429])
    for (const { headers, text } of got) {
      expect(Number(headers['retry-after'])).toBeGreaterThan(15)
      expect(JSON.parse(text)).toMatchObject({ errors: [{ code: 'TOOMANYREQUESTS' }] })
    }
    expect(hub.requests).toHaveLength(1)
  })
})

describe('F10: one limited and the other of no help', () => {
  let hub: BuiltInUpstream
  let other: BuiltInUpstream
  let layer: Digest

  beforeEach(async () => {
    hub = await startUpstream()
    other = await startUpstream()
    layer = hub.addBlob(1000)
  })
  afterEach(closeAll)

  const start = (firstHeaderBudget: string) =>
    startMirror({
      registries: {
        'docker.io': registry([
          { name: 'other', url: other.url },
          { name: 'hub', url: hub.url, role: 'origin' },
        ]),
      },
      settings: { upstream: { firstHeaderBudget, timeouts: { connect: '200ms', firstByte: '200ms' } } },
    })

  const limited = (retryAfter: string): Fault => ({
    kind: 'status',
    status: 429,
    headers: { 'retry-after': retryAfter },
  })
  const limitOnce = (retryAfter: string) => {
    hub.fault = () => (hub.requests.length === 1 ? limited(retryAfter) : undefined)
  }

  test.each<[string, Fault]>([
    ['fails', { kind: 'status', status: 500 }],
    ['is silent', { kind: 'hang' }],
    ['refuses', { kind: 'status', status: 403 }],
    ['has not got it', { kind: 'status', status: 404 }],
    ['is limited for longer', limited('60')],
  ])('a blob waits for the end of a short rest when the other %s', async (_case, fault) => {
    other.fault = () => fault
    limitOnce('1')
    const mirror = await start('10s')

    expect(await mirror.blob('library/app', layer)).toMatchObject({ status: 200, digest: layer })
  })

  test('a rest beyond the budget is 503 with Retry-After when the other fails', async () => {
    other.fault = () => ({ kind: 'status', status: 500 })
    limitOnce('30')
    const mirror = await start('10s')

    const got = await mirror.blob('library/app', layer)

    expect(got.status).toBe(503)
    expect(Number(got.headers['retry-after'])).toBeGreaterThan(15)
  })

  test('one that is limited whenever it is asked is 429 in time, and not that nobody answered', async () => {
    other.fault = () => limited('60')
    hub.fault = () => limited('1')
    const mirror = await start('2s')

    const got = await mirror.blob('library/app', layer)

    expect(got).toMatchObject({ status: 429, headers: { 'retry-after': '1' } })
    expect(JSON.parse(got.text)).toMatchObject({ errors: [{ code: 'TOOMANYREQUESTS' }] })
  })
})
