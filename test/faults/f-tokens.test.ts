import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { fetchBlob, pull } from './client.js'
import { BASIC, CREDENTIALS, type Guarded, startGuarded } from './guarded.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'f-tokens', upstreams: ['a', 'b', 'c'] })
let guarded: Guarded

beforeAll(async () => {
  guarded = await startGuarded(stage)
  for (const name of ['a', 'b'] as const) stage.proxy(name).target = guarded.registry.url
})
afterAll(() => guarded.tokens.stop())

/** Beyond every cool-down, and beyond what an upstream's refusal is believed for. */
const REST_OVER_MS = 3 * 60_000

const bearers = ({ asked }: FaultProxy) => [
  ...new Set(asked.map(({ authorization }) => authorization).filter((header) => header !== undefined)),
]

test('F118 the token service is down: cached content, tokens that are known and other upstreams serve', async () => {
  const repository = 'library/known'
  const [cached, other, next] = [await stage.image({ repository }), ...(await stage.images(2))]
  const { door } = guarded
  const mirror = await stage.mirror({ upstreams: ['a', 'c'] })
  await pull(mirror.url, cached)
  const known = await stage.image({ repository, tag: 'known' })
  await door.setDoor('shut')

  const again = await pull(mirror.url, cached)
  const withToken = await pull(mirror.url, known)
  const elsewhere = await pull(mirror.url, other!)

  expect([again.manifest, again.config, ...again.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
  expect(withToken.layers[0]!.source).toBe('a')
  expect(elsewhere.layers[0]!.source).toBe('c')
  expect(door.asked).toHaveLength(1)

  await door.setDoor('open')
  await mirror.later(REST_OVER_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F119 fifty requests need a token at once: one is asked for; other credentials get one of their own', async () => {
  const repository = 'library/many-layers'
  const image = await stage.image({ repository, layers: Array<number>(50).fill(1000) })
  const second = await stage.image({ repository })
  const { door } = guarded
  const [a, b] = [stage.proxy('a'), stage.proxy('b')]
  const others = { 'other.example': { upstreams: [stage.entry('b', { ...CREDENTIALS, role: 'origin' })] } }
  const mirror = await stage.mirror({ upstreams: ['a'], others })
  // So slow that all who can be under way at once wait for it.
  const slow = door.inject({ kind: 'delay', ms: 300 })

  const got = await Promise.all(image.layers.map((layer) => fetchBlob(mirror.url, repository, layer)))
  const tokens = door.asked.length
  const other = await fetchBlob(mirror.url, `other.example/${repository}`, second.layers[0]!)

  expect(new Set(got.map(({ source }) => source))).toEqual(new Set(['a']))
  expect(tokens).toBe(1)
  expect(other.source).toBe('b')
  expect(door.asked.map(({ authorization }) => authorization)).toEqual([undefined, BASIC])
  expect([bearers(a).length, bearers(b).length, new Set([...bearers(a), ...bearers(b)]).size]).toEqual([1, 1, 2])

  slow.end()
  expect((await pull(mirror.url, second)).manifest.source).toBe('a')
  expect(door.asked).toHaveLength(2)
})

test('F120 many repositories in one process: each request carries a token for its own alone', async () => {
  const images = await stage.images(10, { layers: [1000] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })

  for (const image of images) await pull(mirror.url, image)

  const authorized = a.asked.filter(({ authorization }) => authorization !== undefined)
  expect(new Set(authorized.map(({ repository }) => repository)).size).toBe(10)
  for (const { repository, authorization } of authorized) {
    expect(accessIn(authorization!)).toEqual([{ type: 'repository', name: repository, actions: ['pull'] }])
  }
  expect(guarded.door.asked).toHaveLength(10)

  const again = await stage.image({ repository: images[0]!.repository, tag: 'again' })
  await pull(mirror.url, again)
  expect(accessIn(a.asked.at(-1)!.authorization!)).toMatchObject([{ name: again.repository }])
  expect(guarded.door.asked).toHaveLength(10)
})

test('F121 an upstream refuses a fresh token too: one refresh, then it is denied, and the next one serves', async () => {
  const repository = 'library/refused'
  const image = await stage.image({ repository })
  const { door } = guarded
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'c'] })
  expect((await pull(mirror.url, image)).layers[0]!.source).toBe('a')
  const challenge = `Bearer realm="${guarded.tokens.realm}",scope="repository:${repository}:pull"`
  const refusal = { kind: 'status', status: 401, headers: { 'www-authenticate': challenge } } as const

  // One that was known until now may have been withdrawn: a new one is asked for, and does.
  const second = await stage.image({ repository, tag: 'second' })
  a.forget()
  a.inject(refusal, {}, 1)
  const withdrawn = await pull(mirror.url, second)
  const third = await stage.image({ repository, tag: 'third' })
  const tokens = door.asked.length
  a.forget()
  a.inject(refusal)
  const refused = await pull(mirror.url, third)

  expect([withdrawn, refused].map(({ layers }) => layers[0]!.source)).toEqual(['a', 'c'])
  expect(tokens).toBe(2)
  expect(a.asked.map(({ status }) => status)).toEqual([401, 401])
  expect(door.asked).toHaveLength(tokens + 1)
  const { state, refusals } = await mirror.standing('a')
  expect({ state, refusals }).toMatchObject({ state: 'up', refusals: [{ repository }] })

  await a.heal()
  await mirror.later(REST_OVER_MS)
  const last = await stage.image({ repository, tag: 'last' })
  expect((await pull(mirror.url, last)).layers[0]!.source).toBe('a')
})

/** What a Bearer token (a JWT) allows. */
function accessIn(authorization: string): unknown {
  const [, claims = ''] = authorization.replace(/^Bearer /, '').split('.')
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { access: unknown }).access
}
