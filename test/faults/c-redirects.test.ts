import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { TokenService } from '../helpers/token-service.js'
import { fetchBlob, pull } from './client.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const KIB = 1024
const MIB = 1024 * KIB
const MINUTE_MS = 60_000
/** What was measured of an upstream is old then. */
const HOUR_MS = 60 * MINUTE_MS

const authority = new Authority()
const stage = useStage({
  name: 'c-redirects',
  upstreams: ['a', 'b', 'secure'],
  tls: { secure: authority.issue(WORLD.upstreams) },
})
let tokens: TokenService
let restricted: RegistryUpstream
let store: FaultProxy
let inside: FaultProxy
let loopback: FaultProxy

beforeAll(async () => {
  tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  restricted = await stage.addRegistry('restricted', { storage: stage.storageOf('main'), tokens })
  store = await stage.addProxy({ name: 'store', address: WORLD.elsewhere })
  inside = await stage.addProxy({ name: 'inside', address: WORLD.inside })
  loopback = await stage.addProxy({ name: 'loopback', address: '127.0.0.1' })
})
afterAll(() => tokens.stop())

const GET = { kind: 'blob', method: 'GET' } as const

test('F57 a blob lies behind a signed URL: it is fetched for the client, without credentials, and the URL is told nobody', async () => {
  const [image, next] = await stage.images(2, { layers: [MIB] })
  const a = stage.proxy('a')
  a.target = restricted.url
  stage.after(async () => {
    a.target = stage.registry.url
  })
  const mirror = await stage.mirror({ upstreams: ['a'], settings: { log: { level: 'trace' } } })
  a.inject({ kind: 'redirect', to: store.url, signedForMs: MINUTE_MS }, GET)
  store.inject({ kind: 'signed' })

  const pulled = await pull(mirror.url, image!)
  await pull(mirror.url, next!)

  for (const { status, headers } of [pulled.config, ...pulled.layers]) {
    expect(status).toBe(200)
    expect(headers).not.toHaveProperty('location')
  }
  expect(a.blobs.map(({ status }) => status)).toEqual([307, 307, 307, 307])
  for (const { authorization } of a.blobs) expect(authorization).toMatch(/^Bearer /)
  expect(store.blobs.map(({ status }) => status)).toEqual([200, 200, 200, 200])
  for (const { authorization } of store.asked) expect(authorization).toBeUndefined()
  expect(mirror.output).toContain(image!.layers[0]!.digest)
  expect(mirror.output).not.toContain('signature=')
  for (const entry of await readdir(mirror.folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const content = await readFile(join(entry.parentPath, entry.name))
    expect(content.includes('signature=')).toBe(false)
  }
})

test('F58 a signed URL has expired when the rest is asked for: the registry is asked for a new one', async () => {
  const image = await stage.image({ layers: [2 * MIB] })
  const { digest, size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })
  a.inject({ kind: 'redirect', to: store.url, signedForMs: 3000 }, GET)
  const slowly = { kind: 'throttle', bytesPerSecond: 256 * KIB } as const
  store.inject([{ kind: 'signed' }, slowly, { kind: 'cut', after: 0.5 }], { range: 'none', reference: digest })
  store.inject({ kind: 'signed' })

  const read = await fetchBlob(mirror.url, image.repository, image.layers[0]!)

  expect(read.status).toBe(200)
  expect(a.blobs).toHaveLength(2)
  expect(store.blobs.map(({ status, range, bytes }) => ({ status, range, bytes }))).toMatchObject([
    { status: 200, range: undefined, bytes: size / 2 },
    { status: 403, range: `bytes=${size / 2}-` },
    { status: 206, range: `bytes=${size / 2}-`, bytes: size / 2 },
  ])
  expect((await mirror.standing('a')).state).toBe('up')
})

const FORBIDDEN: [string, () => string][] = [
  ['in a circle', () => stage.proxy('a').url],
  ['to a loopback address', () => loopback.url],
  ['to a private address', () => inside.url],
  ['to a link-local address', () => 'http://169.254.169.254/latest/meta-data'],
]

test.each(FORBIDDEN)('F59 a redirect leads %s: it is not followed, the next upstream serves', async (_, to) => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  a.inject({ kind: 'redirect', to: to() }, GET)

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect([inside.accepted, loopback.accepted]).toEqual([0, 0])
  // At most five steps each.
  expect(a.blobs.length).toBeLessThanOrEqual(2 * 6)

  await a.heal()
  await mirror.later(HOUR_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F59 redirects lead on and on: the sixth is not followed, five are', async () => {
  const [image, next] = await stage.images(2)
  const [a, b] = [stage.proxy('a'), stage.proxy('b')]
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  const chain = (steps: number) => {
    for (let step = 1; step < steps; step++) {
      a.inject({ kind: 'redirect', to: `${a.url}/step/${step}` }, { method: 'GET' }, 1)
    }
  }
  const { repository, layers } = image!
  chain(6)
  a.inject({ kind: 'redirect', to: `${store.url}/v2/${repository}/blobs/${layers[0]!.digest}` }, { method: 'GET' }, 1)

  const read = await fetchBlob(mirror.url, repository, layers[0]!)
  const asked = a.asked.length
  await a.heal()
  chain(5)
  const other = next!.layers[0]!
  a.inject({ kind: 'redirect', to: `${store.url}/v2/${next!.repository}/blobs/${other.digest}` }, { method: 'GET' }, 1)
  const followed = await fetchBlob(mirror.url, next!.repository, other)

  expect(read.source).toBe('b')
  expect(asked).toBe(6)
  expect(followed.source).toBe('a')
  expect(store.blobs.map(({ reference }) => reference)).toEqual([other.digest])
  expect(b.blobs).toHaveLength(1)
})

test('F59 a redirect leads from https to http: it is not followed, the next upstream serves', async () => {
  const [image, next] = await stage.images(2)
  const ca = join(stage.folder, 'ca.pem')
  await writeFile(ca, authority.cert)
  const secure = stage.proxy('secure')
  const mirror = await stage.mirror({ upstreams: ['secure', 'b'], settings: { upstream: { ca } } })
  secure.inject({ kind: 'redirect', to: store.url }, GET)

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(secure.blobs.length).toBeGreaterThan(0)
  expect(store.accepted).toBe(0)

  await secure.heal()
  await mirror.later(HOUR_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('secure')
})

test('F59 a redirect leads to a private address, and the operator allows it: it is followed', async () => {
  const image = await stage.image()
  const mirror = await stage.mirror({ upstreams: [stage.entry('a', { allowInternal: true })] })
  stage.proxy('a').inject({ kind: 'redirect', to: inside.url }, GET)

  expect((await pull(mirror.url, image)).layers[0]!.source).toBe('a')

  expect(inside.blobs).toHaveLength(2)
})

test('F60 where a registry redirects to is out of reach: the next upstream gives blobs, and it is not left alone itself', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  a.inject({ kind: 'redirect', to: store.url }, GET)
  await store.setDoor('shut')

  const pulled = await pull(mirror.url, image!)

  expect([pulled.config, ...pulled.layers].map(({ source }) => source)).toEqual(['b', 'b'])
  expect(pulled.manifest.source).toBe('a')
  expect((await mirror.standing('a')).state).toBe('up')

  await store.setDoor('open')
  await mirror.later(HOUR_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
  expect(store.blobs).toHaveLength(2)
})
