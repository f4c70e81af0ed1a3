import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { pull } from './client.js'
import { type Image, pushImage } from './content.js'
import { BASIC, CREDENTIALS, type Guarded, startGuarded } from './guarded.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const stage = useStage({ name: 'f-credentials', upstreams: ['a', 'b', 'vault'] })
let guarded: Guarded
/** Where private content is pushed to; `guarded` is the same with a lock. */
let open: RegistryUpstream
/** Of another owner: a store that is redirected to, and a token service. */
let store: FaultProxy
let foreign: FaultProxy

beforeAll(async () => {
  open = await stage.addRegistry('private')
  guarded = await startGuarded(stage, 'private')
  guarded.tokens.closed = true
  stage.proxy('vault').target = guarded.registry.url
  store = await stage.addProxy({ name: 'store', address: WORLD.elsewhere, target: open.url })
  foreign = await stage.addProxy({ name: 'foreign', address: WORLD.elsewhere, target: guarded.tokens.url })
})
afterAll(() => guarded.tokens.stop())

const privateImage = (repository: string, tag?: string): Promise<Image> =>
  pushImage(open.url, { repository, ...(tag && { tag }) })
const authorizations = ({ asked }: FaultProxy) => asked.map(({ authorization }) => authorization)
const challenge = (header: string) =>
  ({ kind: 'status', status: 401, headers: { 'www-authenticate': header } }) as const

test('F123 credentials of one upstream go to it and its token service: not where it redirects, nor to another', async () => {
  const repository = 'team/kept'
  const [vault, b] = [stage.proxy('vault'), stage.proxy('b')]
  const image = await privateImage(repository)
  const mirror = await stage.mirror({ upstreams: [stage.entry('vault', CREDENTIALS), 'b'] })
  vault.inject({ kind: 'redirect', to: store.url }, { kind: 'blob' })

  const pulled = await pull(mirror.url, image)
  await vault.heal()
  await mirror.later(400_000)
  vault.inject(challenge(`Bearer realm="${foreign.url}/token",service="test"`))
  const elsewhere = await stage.image()
  const other = await pull(mirror.url, elsewhere)

  expect(pulled.layers[0]!.source).toBe('vault')
  expect(authorizations(guarded.door)).toEqual([BASIC])
  expect(store.blobs.map(({ status }) => status)).toEqual([200, 200])
  expect(other.layers[0]!.source).toBe('b')
  expect(foreign.asked).toEqual([])
  for (const proxy of [store, b]) expect(new Set(authorizations(proxy))).toEqual(new Set([undefined]))

  await vault.heal()
  await mirror.later(61_000)
  expect((await pull(mirror.url, await privateImage(repository, 'next'))).layers[0]!.source).toBe('vault')
})

test('F123 credentials that go out as Basic are kept from where the upstream redirects, too', async () => {
  const [a, b] = [stage.proxy('a'), stage.proxy('b')]
  const [image, next] = await stage.images(2)
  const mirror = await stage.mirror({ upstreams: [stage.entry('a', CREDENTIALS), 'b'] })
  store.target = stage.registry.url
  stage.after(async () => {
    store.target = open.url
  })
  a.inject(challenge('Basic realm="Registry"'), {}, 1)
  a.inject({ kind: 'redirect', to: store.url }, { kind: 'blob' })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('a')
  expect(new Set(authorizations(a).slice(1))).toEqual(new Set([BASIC]))
  expect(store.blobs.map(({ status }) => status)).toEqual([200, 200])
  expect(new Set(authorizations(store))).toEqual(new Set([undefined]))

  await a.heal()
  await a.setDoor('shut')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('b')
  expect(new Set(authorizations(b))).toEqual(new Set([undefined]))
})

test('F124 private content is cached: its digest opens it by no name that its upstream may not be asked for', async () => {
  const image = await privateImage('team/secret')
  const vault = (allow: string) => stage.entry('vault', { ...CREDENTIALS, role: 'origin', allow: [allow] })
  const hub = stage.entry('b', { role: 'origin', allow: ['library/**'] })
  const others = { 'other.example': { upstreams: [stage.entry('b', { role: 'origin' })] } }
  const mirror = await stage.mirror({ upstreams: [vault('team/**'), hub], others })
  await pull(mirror.url, image)
  const digests = [image.config, ...image.layers].map(({ digest }) => digest)

  const again = await pull(mirror.url, image)
  const statuses: Record<string, number[]> = {}
  for (const name of ['stranger/app', 'library/app', 'other.example/team/secret']) {
    const paths = [`manifests/${image.digest}`, 'manifests/latest', ...digests.map((digest) => `blobs/${digest}`)]
    const asked = paths.flatMap((path) => [mirror.read(`/v2/${name}/${path}`), head(`/v2/${name}/${path}`)])
    statuses[name] = (await Promise.all(asked)).map(({ status }) => status)
  }

  expect([again.manifest, again.config, ...again.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
  const none = Array(8).fill(404)
  expect(statuses).toEqual({ 'stranger/app': none, 'library/app': none, 'other.example/team/secret': none })

  await stage.stop(mirror)
  const narrower = await stage.mirror({ folder: mirror.folder, upstreams: [vault('team/else'), hub], others })
  expect((await narrower.read(`/v2/team/secret/blobs/${digests[0]}`)).status).toBe(404)
  expect((await narrower.read('/v2/team/secret/manifests/latest')).status).toBe(404)
  await stage.stop(narrower)
  const restored = await stage.mirror({ folder: mirror.folder, upstreams: [vault('team/**'), hub], others })
  expect((await pull(restored.url, image)).layers[0]!.cache).toBe('hit')
  const next = await stage.image({ repository: 'library/app' })
  expect((await pull(restored.url, next)).layers[0]!.source).toBe('b')

  function head(path: string) {
    return mirror.read(path, {}, 'HEAD')
  }
})
