import nock from 'nock'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TokenSource } from '../../src/upstream/token-source.js'

const START = Date.UTC(2030, 0, 1)
const REQUEST = { realm: 'https://auth.example.test/token', service: 'hub', scope: 'repository:library/app:pull' }
const UPSTREAM = { upstream: 'hub' }

describe('TokenSource', () => {
  let now = START
  let tokens: TokenSource
  const endpoint = () =>
    nock('https://auth.example.test').get('/token').query({ service: REQUEST.service, scope: REQUEST.scope })

  beforeEach(() => {
    now = START
    tokens = new TokenSource({ now: () => now, timeoutMs: 1000 })
    nock.disableNetConnect()
  })

  afterEach(() => {
    nock.cleanAll()
    nock.enableNetConnect()
  })

  test('fifty who ask at once fetch it once', async () => {
    const service = endpoint().delay(20).reply(200, { token: 'abc', expires_in: 300 })

    const got = await Promise.all(Array.from({ length: 50 }, () => tokens.get(REQUEST, UPSTREAM)))

    expect(new Set(got.map(({ value }) => value))).toEqual(new Set(['abc']))
    expect(service.isDone()).toBe(true)
  })

  test.each([
    ['token', { token: 'abc', expires_in: 300 }, 290],
    ['access_token', { access_token: 'abc', expires_in: 300 }, 290],
    ['a token with no lifetime', { token: 'abc' }, 54],
    ['a token with an empty twin', { token: '', access_token: 'abc' }, 54],
    ['a lifetime that is none', { token: 'abc', expires_in: -5 }, 54],
  ])('%s is taken, and fetched anew shortly before it expires', async (_case, body, seconds) => {
    endpoint().reply(200, body)
    expect(await tokens.get(REQUEST, UPSTREAM)).toMatchObject({ value: 'abc', expiresAt: START + seconds * 1000 })
    now += seconds * 1000
    endpoint().reply(200, { token: 'next' })

    expect(await tokens.get(REQUEST, UPSTREAM)).toMatchObject({ value: 'next' })
  })

  test('one in the last quarter of its life is given at once, and the next one is fetched meanwhile, once', async () => {
    endpoint().reply(200, { token: 'abc', expires_in: 310 })
    await tokens.get(REQUEST, UPSTREAM)
    now += 224_000
    await tokens.get(REQUEST, UPSTREAM)
    now += 2000
    const renewal = endpoint().reply(200, { token: 'next', expires_in: 310 })

    const meanwhile = await Promise.all(Array.from({ length: 20 }, () => tokens.get(REQUEST, UPSTREAM)))

    expect(new Set(meanwhile.map(({ value }) => value))).toEqual(new Set(['abc']))
    await expect.poll(async () => (await tokens.get(REQUEST, UPSTREAM)).value).toBe('next')
    expect(renewal.isDone()).toBe(true)
  })

  test('a renewal that fails leaves the token in use until it expires, and is tried again after five seconds', async () => {
    endpoint().reply(200, { token: 'abc', expires_in: 310 })
    await tokens.get(REQUEST, UPSTREAM)
    now += 250_000
    let refusals = 0
    endpoint()
      .times(1000)
      .reply(() => {
        refusals++
        return [500]
      })
    const given = new Set([(await tokens.get(REQUEST, UPSTREAM)).value])
    await expect.poll(() => refusals).toBe(1)
    // Long enough for the failure to have arrived, and for others to be asked for if that were done.
    for (let turn = 0; turn < 100; turn++) {
      given.add((await tokens.get(REQUEST, UPSTREAM)).value)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const within = refusals
    now += 5000
    given.add((await tokens.get(REQUEST, UPSTREAM)).value)
    await expect.poll(() => refusals).toBe(2)
    now += 45_000

    expect([within, ...given]).toEqual([1, 'abc'])
    await expect(tokens.get(REQUEST, UPSTREAM)).rejects.toMatchObject({ kind: 'down' })
  })

  test('a token that was refused is not given again', async () => {
    endpoint().reply(200, { token: 'abc' })
    await tokens.get(REQUEST, UPSTREAM)
    endpoint().reply(200, { token: 'next' })

    expect(await tokens.get(REQUEST, { ...UPSTREAM, refused: 'abc' })).toMatchObject({ value: 'next' })
  })

  test('a credential goes along as Basic, and its tokens are nobody else’s', async () => {
    endpoint().basicAuth({ user: 'ann', pass: 's:cret' }).reply(200, { token: 'hers' })
    endpoint()
      .matchHeader('authorization', (value) => value === undefined)
      .reply(200, { token: 'anybodys' })

    const hers = await tokens.get(REQUEST, { ...UPSTREAM, credential: { username: 'ann', password: 's:cret' } })
    const anybodys = await tokens.get(REQUEST, UPSTREAM)

    expect([hers.value, anybodys.value]).toEqual(['hers', 'anybodys'])
  })

  test.each<[string, () => unknown, object]>([
    ['a refusal', () => endpoint().reply(403), { kind: 'denied' }],
    ['a login that it does not know', () => endpoint().reply(401), { kind: 'denied' }],
    ['429', () => endpoint().reply(429, '', { 'retry-after': '9' }), { kind: 'limited', retryAfterMs: 9000 }],
    ['500', () => endpoint().reply(500), { kind: 'down' }],
    ['no token', () => endpoint().reply(200, {}), { kind: 'denied' }],
    [
      'a token that would break out of its header',
      () => endpoint().reply(200, { token: 'a\r\nb: c' }),
      { kind: 'denied' },
    ],
    ['a page', () => endpoint().reply(200, '<html>'), { kind: 'lying' }],
    ['an endless answer', () => endpoint().reply(200, 'x'.repeat(300_000)), { kind: 'lying' }],
    ['a redirect', () => endpoint().reply(302, '', { location: 'https://elsewhere.example.test/' }), { kind: 'down' }],
    ['a closed connection', () => endpoint().replyWithError('ECONNRESET'), { kind: 'down' }],
    ['a server too slow', () => endpoint().delay(5000).reply(200, { token: 'abc' }), { kind: 'slow', silent: true }],
  ])('%s is an UpstreamError', async (_case, arrange, expected) => {
    arrange()

    await expect(tokens.get(REQUEST, UPSTREAM)).rejects.toMatchObject({
      name: 'UpstreamError',
      upstream: 'hub',
      ...expected,
    })
  })

  test('a failure is not kept: the next one asks again', async () => {
    endpoint().reply(500)
    await expect(tokens.get(REQUEST, UPSTREAM)).rejects.toThrow()
    endpoint().reply(200, { token: 'abc' })

    expect(await tokens.get(REQUEST, UPSTREAM)).toMatchObject({ value: 'abc' })
  })
})
