import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { pull } from './client.js'
import { BASIC, CREDENTIALS, type Guarded, startGuarded } from './guarded.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const authority = new Authority()
const certified = authority.issue(WORLD.upstreams)
const stage = useStage({
  name: 'f-challenges',
  upstreams: ['a', 'secure', 'b'],
  tls: { secure: certified },
})
let guarded: Guarded
/** The token service as it is reached by TLS, and by other addresses than that of the upstreams. */
let secureDoor: FaultProxy
let foreign: FaultProxy
let inside: FaultProxy

beforeAll(async () => {
  guarded = await startGuarded(stage)
  for (const name of ['a', 'secure'] as const) stage.proxy(name).target = guarded.registry.url
  const { url: target } = guarded.tokens
  secureDoor = await stage.addProxy({ name: 'secure-tokens', target, tls: certified })
  foreign = await stage.addProxy({ name: 'foreign', address: WORLD.elsewhere, target })
  inside = await stage.addProxy({ name: 'inside', address: WORLD.inside, target })
  await writeFile(join(stage.folder, 'ca.pem'), authority.cert)
})
afterEach(() => {
  guarded.tokens.shape = (answer) => answer
})
afterAll(() => guarded.tokens.stop())

const challenging = (text: string) => ({ kind: 'headers', set: { 'www-authenticate': text } }) as const
/** Longer than an upstream's refusal is believed. */
const REFUSAL_OVER_MS = 61_000

/** By the realm and the repository. */
const CHALLENGES: [string, (realm: string, repository: string) => string][] = [
  ['no scope', (realm) => `Bearer realm="${realm}",service="test upstreams"`],
  ['an empty scope', (realm) => `Bearer realm="${realm}",service="test upstreams",scope=""`],
  [
    'several scopes',
    (realm, name) => `Bearer realm="${realm}",scope="repository:${name}:pull repository:library/other:pull"`,
  ],
  [
    'commas in quotes',
    (realm, name) => `Bearer realm="${realm}",service="a, \\"b\\"",scope="repository:${name}:pull,push"`,
  ],
  [
    'another order',
    (realm, name) => `bearer error="none" , scope="repository:${name}:pull", service=test ,realm=${realm}`,
  ],
  [
    'Basic first',
    (realm, name) => `Basic realm="Registry, old", Bearer realm="${realm}",scope="repository:${name}:pull"`,
  ],
  ['Basic last', (realm) => `Bearer realm="${realm}",service="test", Basic realm="Registry"`],
]

test.each(CHALLENGES)('F116 a challenge with %s: one token, for the repository', async (_, challenge) => {
  const [image, next] = await stage.images(2)
  const { tokens, door } = guarded
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const before = tokens.asked.length
  const injected = stage.proxy('a').inject(challenging(challenge(tokens.realm, image!.repository)))

  const pulled = await pull(mirror.url, image!)

  expect(injected.met).toBeGreaterThan(0)
  expect(pulled.layers[0]!.source).toBe('a')
  expect(door.asked.map(({ status }) => status)).toEqual([200])
  const scopes = tokens.asked.slice(before).map((scope) => scope.replace(/,push$/, ''))
  expect(scopes).toContain(`repository:${image!.repository}:pull`)

  await stage.proxy('a').heal()
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F117 a token that does not say how long it lives: that is taken to be 60 s', async () => {
  const repository = 'library/lifetime'
  const { tokens, door } = guarded
  const mirror = await stage.mirror({ upstreams: ['a'] })
  let count = 0
  const pullAnother = async () => pull(mirror.url, await stage.image({ repository, tag: `v${++count}` }))
  tokens.shape = ({ token }) => ({ token })

  await pullAnother()
  await mirror.later(30_000)
  await pullAnother()
  const within = door.asked.length
  await mirror.later(31_000)
  await pullAnother()

  expect(within).toBe(1)
  expect(door.asked).toHaveLength(2)

  tokens.shape = (answer) => answer
  await mirror.later(61_000)
  await pullAnother()
  await mirror.later(61_000)
  await pullAnother()
  expect(door.asked).toHaveLength(3)
})

test.each([
  ['alone', (token: string) => ({ access_token: token, expires_in: 300 })],
  ['beside an empty token', (token: string) => ({ token: '', access_token: token, expires_in: 300 })],
])('F117 a token that is called access_token, %s: it is used, for as long as it says', async (how, shape) => {
  const repository = `library/access-token-${how.length}`
  const { tokens, door } = guarded
  const mirror = await stage.mirror({ upstreams: ['a'] })
  tokens.shape = ({ token }) => shape(token)

  expect((await pull(mirror.url, await stage.image({ repository }))).layers[0]!.source).toBe('a')
  await mirror.later(61_000)
  expect((await pull(mirror.url, await stage.image({ repository, tag: 'next' }))).layers[0]!.source).toBe('a')
  expect(door.asked.map(({ status }) => status)).toEqual([200])

  tokens.shape = (answer) => answer
  expect((await pull(mirror.url, await stage.image())).layers[0]!.source).toBe('a')
})

interface RealmCase {
  upstream: 'a' | 'secure'
  place: () => FaultProxy
  /** One that needs no allowing. */
  right: () => FaultProxy
  /** What allows it, in the upstream's entry. */
  allowed: (place: FaultProxy) => object
}

const REFUSED: [string, RealmCase][] = [
  [
    'on a private address',
    {
      upstream: 'a',
      place: () => inside,
      right: () => guarded.door,
      allowed: ({ url }) => ({ allowInternal: true, realms: [url] }),
    },
  ],
  [
    'on plain http, of an upstream with TLS',
    {
      upstream: 'secure',
      place: () => guarded.door,
      right: () => secureDoor,
      allowed: ({ url }) => ({ realms: [url] }),
    },
  ],
]

test.each(REFUSED)('F122 a realm %s is not asked, and the next upstream serves; allowed, it is', async (_, realm) => {
  const { upstream, place, right, allowed } = realm
  const [image, next, last] = await stage.images(3)
  const ca = join(stage.folder, 'ca.pem')
  const proxy = stage.proxy(upstream)
  proxy.inject(challenging(`Bearer realm="${place().url}/token",service="test"`))
  const strict = await stage.mirror({ upstreams: [stage.entry(upstream, { ...CREDENTIALS, ca }), 'b'] })
  const open = { ...CREDENTIALS, ca, ...allowed(place()) }
  const allowing = await stage.mirror({ upstreams: [stage.entry(upstream, open), 'b'] })

  const pulled = await pull(strict.url, image!)
  const accepted = place().accepted
  const trusted = await pull(allowing.url, next!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(proxy.asked.filter(({ authorization }) => authorization?.startsWith('Basic'))).toEqual([])
  expect(accepted).toBe(0)
  expect(trusted.layers[0]!.source).toBe(upstream)
  expect(place().asked.map(({ authorization }) => authorization)).toEqual([BASIC])

  await proxy.heal()
  proxy.inject(challenging(`Bearer realm="${right().url}/token",service="test"`))
  await strict.later(REFUSAL_OVER_MS)
  expect((await pull(strict.url, last!)).layers[0]!.source).toBe(upstream)
})

test('F122 a realm on a foreign host is not asked, unless it is allowed: the next upstream serves', async () => {
  const [image, next, last] = await stage.images(3)
  const a = stage.proxy('a')
  a.inject(challenging(`Bearer realm="${foreign.url}/token",service="test"`))
  const strict = await stage.mirror({ upstreams: [stage.entry('a', CREDENTIALS), 'b'] })
  const realms = [new URL(foreign.url).host]
  const allowing = await stage.mirror({ upstreams: [stage.entry('a', { ...CREDENTIALS, realms }), 'b'] })

  await pull(strict.url, image!)
  const asked = [...foreign.asked]
  await pull(allowing.url, next!)

  expect(asked).toEqual([])
  expect(foreign.asked.map(({ authorization }) => authorization)).toEqual([BASIC])

  await a.heal()
  foreign.forget()
  // What was refused for one repository is remembered for that one alone.
  expect((await pull(strict.url, last!)).layers[0]!.source).toBe('a')
  expect(foreign.asked).toEqual([])
  expect(guarded.door.asked.map(({ authorization }) => authorization)).toEqual([BASIC])
})
