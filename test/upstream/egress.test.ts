import { afterEach, describe, expect, test } from 'vitest'
import type { EgressOptions } from '../../src/upstream/egress.js'
import type { Lookup } from '../../src/upstream/name-lookup.js'
import { Authority } from '../helpers/certificates.js'
import { startConnectProxy, startSocksProxy, startTlsFront, type TestProxy } from '../helpers/proxies.js'
import { clientOf, closeAll, digestOfBody, REPOSITORY, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

const REGISTRY = 'registry.test'
const TOKENS = 'auth.registry.test'
const STORE = 'cdn.elsewhere.test'
const TIMEOUTS = { connectMs: 3000, firstByteMs: 3000, idleMs: 3000 }
const authority = new Authority()
const certified = authority.issue(REGISTRY, TOKENS, STORE)

/** Names of a test all lead to this machine; what was looked up is noted. */
function loopbackNames(): { lookup: Lookup; names: string[] } {
  const names: string[] = []
  const lookup: Lookup = async (hostname) => {
    names.push(hostname)
    return [{ address: '127.0.0.1', family: 4 }]
  }
  return { lookup, names }
}

/** A registry, its token service and a store that it redirects blobs to: each of another name, all with TLS. */
async function startWorld({ clientCa }: { clientCa?: string } = {}) {
  const store = await startUpstream()
  const storePort = await startTlsFront(() => store.port, certified, clientCa)
  let port = 0
  const front = await startTlsFront(() => port, certified, clientCa)
  const registry = await startUpstream({ auth: { kind: 'bearer', realm: `https://${TOKENS}:${front}/token` } })
  port = registry.port
  const digest = store.addBlob(300_000)
  registry.fault = ({ path }) =>
    path.includes('/blobs/')
      ? { kind: 'redirect', to: `https://${STORE}:${storePort}/v2/x/blobs/${digest}` }
      : undefined
  return { registry, store, digest, front, storePort, url: `https://${REGISTRY}:${front}` }
}

/** Through everything: challenge, token, redirect, bytes. */
async function pull(
  { url, digest }: { url: string; digest: Parameters<typeof digestOfBody>[1] },
  egress: EgressOptions,
  lookup?: Lookup,
) {
  const client = clientOf(url, { timeouts: TIMEOUTS, egress }, lookup ? { lookup } : {})
  const { body } = await client.getBlob(REPOSITORY, digest, 0)
  return digestOfBody(body, digest)
}

describe('F143: a proxy and an extra authority', () => {
  test.each<[string, () => Promise<TestProxy>, (port: number) => string, string | undefined]>([
    ['an HTTP proxy', () => startConnectProxy(), (port) => `http://127.0.0.1:${port}`, undefined],
    [
      'an HTTP proxy with a password',
      () => startConnectProxy({ wants: 'ann:s@cret' }),
      (port) => `http://ann:s%40cret@127.0.0.1:${port}/`,
      'ann:s@cret',
    ],
    [
      'a proxy behind TLS',
      () => startConnectProxy({ tls: authority.issue('127.0.0.1') }),
      (port) => `https://127.0.0.1:${port}`,
      undefined,
    ],
    ['a SOCKS proxy', () => startSocksProxy(), (port) => `socks5://127.0.0.1:${port}`, undefined],
    [
      'a SOCKS proxy with a password',
      () => startSocksProxy({ wants: 'ann:s@cret' }),
      (port) => `socks5://ann:s%40cret@127.0.0.1:${port}`,
      'ann:s@cret',
    ],
  ])(
    '%s carries registry, token service and store, and resolves their names',
    async (_case, start, url, credential) => {
      const world = await startWorld()
      const proxy = await start()
      const { lookup, names } = loopbackNames()

      const got = await pull(world, { proxy: url(proxy.port), ca: authority.cert }, lookup)

      expect(got).toBe(world.digest)
      expect(new Set(proxy.asked)).toEqual(
        new Set([`${REGISTRY}:${world.front}`, `${TOKENS}:${world.front}`, `${STORE}:${world.storePort}`]),
      )
      expect(new Set(proxy.credentials)).toEqual(new Set([credential]))
      expect(proxy.bytes).toBeGreaterThan(300_000)
      expect(names).toEqual([])
      expect(world.registry.tokenRequests).toBe(1)
    },
  )

  test('carries http upstreams as well', async () => {
    const upstream = await startUpstream()
    const digest = upstream.addBlob(1000)
    const proxy = await startConnectProxy()

    const got = await pull(
      { url: `http://${REGISTRY}:${upstream.port}`, digest },
      { proxy: `http://127.0.0.1:${proxy.port}` },
    )

    expect(got).toBe(digest)
    expect(proxy.asked).toEqual([`${REGISTRY}:${upstream.port}`])
  })

  test.each([
    ['10.9.8.7', '10.9.8.7'],
    ['[fd00::1:2]', 'fd000000000000000000000000010002'],
    ['[::]', '0'.repeat(32)],
    ['[1:2:3:4:5:6:7:8]', '00010002000300040005000600070008'],
  ])('by SOCKS the address %s is asked for as an address', async (host, asked) => {
    const upstream = await startUpstream()
    const proxy = await startSocksProxy()

    await clientOf(`http://${host}:${upstream.port}`, { egress: { proxy: `socks5://127.0.0.1:${proxy.port}` } }).ping()

    expect(proxy.asked).toEqual([`${asked}:${upstream.port}`])
  })

  test('noProxy: who is excepted is asked directly, the others through the proxy', async () => {
    const world = await startWorld()
    const proxy = await startConnectProxy()
    const { lookup, names } = loopbackNames()
    const egress = {
      proxy: `http://127.0.0.1:${proxy.port}`,
      noProxy: [REGISTRY],
      ca: authority.cert,
      allowInternal: true,
    }

    expect(await pull(world, egress, lookup)).toBe(world.digest)

    expect(new Set(proxy.asked)).toEqual(new Set([`${STORE}:${world.storePort}`]))
    expect(new Set(names)).toEqual(new Set([REGISTRY, TOKENS]))
  })

  test.each<[string, () => Promise<TestProxy>, string, string]>([
    ['an HTTP proxy', () => startConnectProxy({ wants: 'ann:right' }), 'http', 'the proxy answered 407'],
    ['a SOCKS proxy', () => startSocksProxy({ wants: 'ann:right' }), 'socks5', 'the proxy refused the credentials'],
  ])(
    '%s that refuses the password: the upstream is unreached, and the password in no message',
    async (_case, start, scheme, message) => {
      const proxy = await start()
      const egress = { proxy: `${scheme}://ann:geheim@127.0.0.1:${proxy.port}` }

      const failure = await clientOf(`https://${REGISTRY}`, { egress })
        .ping()
        .catch((error: unknown) => error)

      expect(failure).toMatchObject({ kind: 'down', unreached: true, message: expect.stringContaining(message) })
      expect(String(failure)).not.toContain('geheim')
    },
  )

  test('a server of an authority that nobody named is not spoken to', async () => {
    const world = await startWorld()
    const { lookup } = loopbackNames()

    await expect(pull(world, { ca: new Authority().cert, allowInternal: true }, lookup)).rejects.toMatchObject({
      kind: 'down',
      unreached: true,
    })

    expect(world.registry.requests).toEqual([])
  })
})

describe('a client certificate', () => {
  test('is shown to registry, token service and store', async () => {
    const clients = new Authority()
    const world = await startWorld({ clientCa: clients.cert })
    const { lookup } = loopbackNames()
    const egress = { ca: authority.cert, ...clients.issue('entrepot'), allowInternal: true }

    expect(await pull(world, egress, lookup)).toBe(world.digest)
  })

  test('is missed where there is none', async () => {
    const world = await startWorld({ clientCa: new Authority().cert })
    const { lookup } = loopbackNames()

    await expect(pull(world, { ca: authority.cert, allowInternal: true }, lookup)).rejects.toMatchObject({
      kind: 'down',
    })

    expect(world.registry.requests).toEqual([])
  })
})

describe('F59, F122: names that lead inside', () => {
  test('a redirect to one is refused before anything is asked there', async () => {
    const store = await startUpstream()
    const registry = await startUpstream()
    const digest = store.addBlob(100)
    registry.fault = () => ({ kind: 'redirect', to: `http://${STORE}:${store.port}/v2/x/blobs/${digest}` })
    const { lookup } = loopbackNames()

    const asked = pull({ url: `http://${REGISTRY}:${registry.port}`, digest }, {}, lookup)

    await expect(asked).rejects.toMatchObject({ kind: 'lying', message: expect.stringContaining('allowInternal') })
    expect([registry.requests.length, store.requests.length]).toEqual([1, 0])
  })

  test('a token realm at one is refused before anything is asked there', async () => {
    const world = await startWorld()
    const { lookup } = loopbackNames()

    const asked = pull(world, { ca: authority.cert }, lookup)

    await expect(asked).rejects.toMatchObject({ kind: 'denied', message: expect.stringContaining('allowInternal') })
    expect(world.registry.tokenRequests).toBe(0)
  })

  test.each<[string, string, EgressOptions]>([
    ['allowInternal', REGISTRY, { allowInternal: true }],
    ['an upstream that is inside by its name', 'localhost', {}],
  ])('%s lets them', async (_case, host, egress) => {
    const store = await startUpstream()
    const registry = await startUpstream()
    const digest = store.addBlob(100)
    registry.fault = () => ({ kind: 'redirect', to: `http://${STORE}:${store.port}/v2/x/blobs/${digest}` })
    const { lookup } = loopbackNames()

    expect(await pull({ url: `http://${host}:${registry.port}`, digest }, egress, lookup)).toBe(digest)
  })
})

test('F59: a redirect from https to http is refused, also where all is inside', async () => {
  const store = await startUpstream()
  const registry = await startUpstream()
  const digest = store.addBlob(100)
  registry.fault = () => ({ kind: 'redirect', to: `http://${STORE}:${store.port}/v2/x/blobs/${digest}` })
  const front = await startTlsFront(() => registry.port, certified)
  const { lookup } = loopbackNames()
  const egress = { ca: authority.cert, allowInternal: true }

  await expect(pull({ url: `https://${REGISTRY}:${front}`, digest }, egress, lookup)).rejects.toMatchObject({
    kind: 'lying',
    message: expect.stringContaining('it leaves https'),
  })

  expect(store.requests).toEqual([])
})

describe('maxBytesPerSecond', () => {
  test('F146: holds across parallel transfers', async () => {
    const upstream = await startUpstream()
    const digest = upstream.addBlob(100_000)
    const client = clientOf(upstream.url, { timeouts: TIMEOUTS, egress: { maxBytesPerSecond: 1_000_000 } })
    const beganAt = performance.now()

    const streams = await Promise.all(Array.from({ length: 5 }, () => client.getBlob(REPOSITORY, digest, 0)))
    const digests = await Promise.all(streams.map(({ body }) => digestOfBody(body, digest)))

    // 500,000 bytes less a tenth of a second's worth; that it is not much later is the clock's business, not ours
    expect(performance.now() - beganAt).toBeGreaterThan(395)
    expect(new Set(digests)).toEqual(new Set([digest]))
  })
})
