import { afterEach, describe, expect, test } from 'vitest'
import { parseTag, referenceOf } from '../../src/oci/reference.js'
import {
  type BuiltInUpstream,
  clientOf,
  closeAll,
  digestOfBody,
  inRepository,
  REPOSITORY,
  startUpstream,
} from '../helpers/upstream.js'

afterEach(closeAll)

const LATEST = referenceOf(parseTag('latest'))

describe('an upstream that wants a token', () => {
  test('is asked for one token by fifty parallel readers', async () => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', expiresInS: 300 } })
    const digest = upstream.addBlob(1000)
    // Fifty at once take a busy machine longer than the short limits of these tests.
    const client = clientOf(upstream.url, { timeouts: { connectMs: 5000, firstByteMs: 5000, idleMs: 5000 } })

    const read = async () => digestOfBody((await client.getBlob(REPOSITORY, digest, 0)).body, digest)

    expect(new Set(await Promise.all(Array.from({ length: 50 }, read)))).toEqual(new Set([digest]))
    expect(upstream.tokenRequests).toBe(1)
  })

  test('gets it from the first request on once it is known, and a new one for another repository', async () => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', expiresInS: 300 } })
    const other = inRepository('library/other')
    for (const repository of [REPOSITORY, other]) upstream.addImage(repository, 'latest', { layers: [10] })
    const client = clientOf(upstream.url)
    await client.getManifest(REPOSITORY, LATEST)
    upstream.requests = []

    await client.getManifest(REPOSITORY, LATEST)
    await client.getManifest(other, LATEST)

    expect(upstream.requests.map(({ status }) => status)).toEqual([200, 401, 200, 200])
    expect(upstream.tokenRequests).toBe(2)
  })

  test.each([
    ['a challenge without scope', { scope: false }],
    ['access_token', { field: 'access_token' as const }],
    ['no lifetime', {}],
  ])('%s is no hindrance', async (_case, options) => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', ...options } })
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })

    expect(await clientOf(upstream.url).getManifest(REPOSITORY, LATEST)).toMatchObject({ digest: manifest })
  })

  test('that forgot its tokens is asked for one new one', async () => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', expiresInS: 300 } })
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const client = clientOf(upstream.url)
    await client.getManifest(REPOSITORY, LATEST)
    upstream.gate.revokeTokens()

    expect(await client.getManifest(REPOSITORY, LATEST)).toMatchObject({ digest: manifest })
    expect(upstream.tokenRequests).toBe(2)
  })

  test('and refuses a fresh one denies', async () => {
    const service = await startUpstream({ auth: { kind: 'bearer' } })
    const upstream = await startUpstream({ auth: { kind: 'bearer', realm: `${service.origin}/token` } })
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })

    await expect(clientOf(upstream.url).getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'denied' })

    expect(service.tokenRequests).toBe(1)
    expect(upstream.requests).toHaveLength(2)
  })

  test('gets the user’s own, and no password itself', async () => {
    const auth = { kind: 'bearer', username: 'ann', password: 'secret' } as const
    const upstream = await startUpstream({ auth })
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const client = clientOf(upstream.url, { username: 'ann', password: 'secret' })

    expect(await client.getManifest(REPOSITORY, LATEST)).toMatchObject({ digest: manifest })
    expect(upstream.requests.map(({ path, authorization }) => [path.split('?')[0], authorization])).toEqual([
      ['/v2/library/app/manifests/latest', false],
      ['/token', true],
      ['/v2/library/app/manifests/latest', true],
    ])
  })

  test('whose token service is a stranger is passed over: that is not asked, and the reason names it', async () => {
    const service = await startUpstream({ auth: { kind: 'bearer' } })
    const realm = service.origin.replace('127.0.0.1', 'localhost')
    const upstream = await startUpstream({ auth: { kind: 'bearer', realm: `${realm}/token` } })
    const client = clientOf(upstream.url, { username: 'ann', password: 'secret' })

    const message = expect.stringContaining(new URL(realm).host)
    await expect(client.getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'denied', message })

    expect(service.requests).toEqual([])
  })

  test('whose token service is that of the registry itself has it asked, without the password', async () => {
    const service = await startUpstream({ auth: { kind: 'bearer' } })
    const realm = service.origin.replace('127.0.0.1', 'localhost')
    const upstream = await startUpstream({ auth: { kind: 'bearer', realm: `${realm}/token` } })
    const client = clientOf(upstream.url, { registry: 'localhost:5000', username: 'ann', password: 'secret' })

    await expect(client.getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'denied' })

    expect(service.requests.map(({ authorization }) => authorization)).toEqual([false])
  })
})

describe('a token service elsewhere', () => {
  const withRealm = async () => {
    const service = await startUpstream({ auth: { kind: 'bearer' } })
    const realm = service.origin.replace('127.0.0.1', 'localhost')
    const upstream = await startUpstream({ auth: { kind: 'bearer', realm: `${realm}/token` } })
    return { service, upstream, host: new URL(realm).host }
  }

  test.each<[string, (host: string) => string, boolean]>([
    ['its host and port', (host) => host, true],
    ['its origin', (host) => `http://${host}`, true],
    ['another port', (host) => `${host.split(':')[0]}:1`, false],
    ['another host', () => 'auth.example.com', false],
  ])('that realms allow by %s is asked, with the password: %s', async (_case, realm, allowed) => {
    const { service, upstream, host } = await withRealm()
    const client = clientOf(upstream.url, { username: 'ann', password: 'secret', realms: [realm(host)] })

    await expect(client.getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'denied' })

    expect(service.requests.map(({ authorization }) => authorization)).toEqual(allowed ? [true] : [])
  })
})

describe('several accounts', () => {
  const ACCOUNTS = [
    { username: 'ann', password: 'hers' },
    { username: 'bob', password: 'his' },
  ]
  const statuses = (upstream: BuiltInUpstream) => upstream.requests.map(({ status }) => status)

  test('the next one is used when one is limited, and stays in use while that rests', async () => {
    let now = Date.UTC(2030, 0, 1)
    const upstream = await startUpstream({ auth: { kind: 'bearer' } })
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const limit = { kind: 'status', status: 429, headers: { 'retry-after': '30', 'ratelimit-limit': '100' } } as const
    let limits = 1
    upstream.fault = ({ path }) => (path.startsWith('/v2/') && limits-- > 0 ? limit : undefined)
    const client = clientOf(upstream.url, { credentials: ACCOUNTS }, { now: () => now })

    const got = await client.getManifest(REPOSITORY, LATEST)
    now += 29_000
    await client.getManifest(REPOSITORY, LATEST)

    expect(got.digest).toBe(manifest)
    expect(statuses(upstream)).toEqual([401, 200, 429, 401, 200, 200, 200])
    expect(upstream.tokenRequests).toBe(2)
  })

  test('the next one is used when a login is refused, and at once from then on', async () => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', username: 'bob', password: 'his' } })
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const client = clientOf(upstream.url, { credentials: ACCOUNTS })

    await client.getManifest(REPOSITORY, LATEST)
    upstream.requests = []
    await client.getManifest(REPOSITORY, LATEST)

    expect(upstream.tokenRequests).toBe(2)
    expect(statuses(upstream)).toEqual([200])
  })

  test('the next one is used when Basic is refused', async () => {
    const upstream = await startUpstream({ auth: { kind: 'basic', ...ACCOUNTS[1]! } })
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const client = clientOf(upstream.url, { ...ACCOUNTS[0], credentials: ACCOUNTS.slice(1) })

    await client.getManifest(REPOSITORY, LATEST)
    upstream.requests = []
    await client.getManifest(REPOSITORY, LATEST)

    expect(statuses(upstream)).toEqual([200])
  })

  test('when none is let in that is a denial, each asked once', async () => {
    const upstream = await startUpstream({ auth: { kind: 'bearer', username: 'cyd', password: 'no' } })
    const client = clientOf(upstream.url, { credentials: ACCOUNTS })

    await expect(client.getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'denied' })

    expect(upstream.tokenRequests).toBe(2)
  })
})

describe('an upstream that wants Basic', () => {
  test('gets it when it asks, and from then on at once', async () => {
    const upstream = await startUpstream({ auth: { kind: 'basic', username: 'ann', password: 'secret' } })
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    const client = clientOf(upstream.url, { username: 'ann', password: 'secret' })

    await client.getManifest(REPOSITORY, LATEST)
    await client.getManifest(REPOSITORY, LATEST)

    expect(upstream.requests.map(({ status, authorization }) => [status, authorization])).toEqual([
      [401, false],
      [200, true],
      [200, true],
    ])
  })

  test.each([
    ['a wrong password', { username: 'ann', password: 'wrong' }, 2],
    ['no password', {}, 1],
  ])('%s is denied', async (_case, credential, requests) => {
    const upstream = await startUpstream({ auth: { kind: 'basic', username: 'ann', password: 'secret' } })

    await expect(clientOf(upstream.url, credential).getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({
      kind: 'denied',
    })

    expect(upstream.requests).toHaveLength(requests)
  })
})

describe('a redirect', () => {
  const redirectTo = (to: string) => (request: { path: string }) =>
    request.path.startsWith('/v2/') ? ({ kind: 'redirect', to } as const) : undefined

  test('to another host is followed without Authorization, the range with it', async () => {
    const store = await startUpstream()
    const registry = await startUpstream({ auth: { kind: 'bearer' } })
    const digest = store.addBlob(1000)
    registry.fault = redirectTo(`${store.url}/v2/x/blobs/${digest}?signature=secret`)

    const stream = await clientOf(registry.url).getBlob(REPOSITORY, digest, 400)

    expect(stream.size).toBe(1000)
    stream.destroy()
    expect(store.requests).toMatchObject([{ range: 'bytes=400-', authorization: false, status: 206 }])
    expect(registry.requests.at(-1)).toMatchObject({ authorization: true, status: 307 })
  })

  test('on the same host keeps it', async () => {
    const registry = await startUpstream({ auth: { kind: 'bearer' } })
    const digest = registry.addBlob(1000)
    const moved = `/v2/${REPOSITORY}/blobs/${digest}?again`
    registry.fault = ({ path }) =>
      path.startsWith('/v2/') && path !== moved ? { kind: 'redirect', to: moved } : undefined

    const stream = await clientOf(registry.url).getBlob(REPOSITORY, digest, 0)

    expect(await digestOfBody(stream.body, digest)).toBe(digest)
    expect(registry.requests.at(-1)).toMatchObject({ path: moved, authorization: true })
  })

  test('back to the first host no longer carries Authorization', async () => {
    const registry = await startUpstream({ auth: { kind: 'basic', username: 'ann', password: 'secret' } })
    const elsewhere = await startUpstream()
    const digest = registry.addBlob(1000)
    registry.fault = redirectTo(`${elsewhere.url}/v2/x`)
    elsewhere.fault = redirectTo(`${registry.url}/v2/${REPOSITORY}/blobs/${digest}?back`)

    const asked = clientOf(registry.url, { username: 'ann', password: 'secret' }).getBlob(REPOSITORY, digest, 0)

    await expect(asked).rejects.toMatchObject({ kind: 'down' })
    expect(registry.requests.at(-1)).toMatchObject({ authorization: false })
  })

  test.each([
    ['in a circle', (url: string) => `${url}/v2/again`, 'more than 5 redirects'],
    ['to another scheme', () => 'ftp://127.0.0.1/x', 'no http'],
    ['to nowhere', () => 'http://', 'to nowhere'],
  ])('%s is a lie', async (_case, to, message) => {
    const registry = await startUpstream()
    registry.fault = redirectTo(to(registry.url))

    const asked = clientOf(registry.url).headManifest(REPOSITORY, LATEST)

    await expect(asked).rejects.toMatchObject({ kind: 'lying', message: expect.stringContaining(message) })
  })

  test.each([403, 404])(
    'to a place that answers %i is no word of the registry, and its query is not told',
    async (status) => {
      const store = await startUpstream()
      const registry = await startUpstream()
      const digest = registry.addBlob(10)
      store.fault = () => ({ kind: 'status', status })
      registry.fault = redirectTo(`${store.url}/blob?signature=secret`)

      const failure = await clientOf(registry.url)
        .getBlob(REPOSITORY, digest, 0)
        .catch((error: unknown) => error)

      expect(failure).toMatchObject({ kind: 'down', authoritative: false })
      expect(String(failure)).not.toContain('secret')
    },
  )

  test('to a place out of reach does not make the registry unreached', async () => {
    const store = await startUpstream()
    const registry = await startUpstream()
    registry.fault = redirectTo(`${store.url}/blob`)
    await store.stop()

    const asked = clientOf(registry.url).headManifest(REPOSITORY, LATEST)

    await expect(asked).rejects.toMatchObject({ kind: 'down', unreached: false })
  })
})
