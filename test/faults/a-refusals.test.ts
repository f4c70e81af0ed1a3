import { expect, test } from 'vitest'
import { TokenService } from '../helpers/token-service.js'
import { fetchManifest, pull } from './client.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const stage = useStage({ name: 'a-refusals', upstreams: ['a', 'b', 'hub'] })

/** For so long a mirror's refusal of a repository is remembered, and a little more. */
const MEMO_MS = 61_000
const CAMPUS = { code: 40_301, message: { zh: 'campus network only' }, errors: 'none' }

test('F11 403 for everything, with a body of foreign shape: the next upstream serves, and the reason is in /stats', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  const headers = { 'content-type': 'application/json' }
  a.inject({ kind: 'status', status: 403, headers, body: JSON.stringify(CAMPUS) })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(a.asked).toHaveLength(1)
  const refusals = [{ repository: image!.repository, reason: expect.stringContaining('403') }]
  expect(await mirror.standing('a')).toMatchObject({ state: 'up', errors: 1, refusals })

  await a.heal()
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F12 403 for one repository: it is remembered for that one alone, and for a minute', async () => {
  const [refused, other] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  const { repository } = refused!
  a.inject({ kind: 'status', status: 403, body: 'not in the allowlist' }, { repository })

  const pulled = await pull(mirror.url, refused!)
  const allowed = await pull(mirror.url, other!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(a.asked.filter((each) => each.repository === repository)).toHaveLength(1)
  expect(allowed.layers[0]!.source).toBe('a')
  expect((await mirror.standing('a')).state).toBe('up')

  await a.heal()
  const next = await stage.image({ repository, tag: 'next' })
  expect((await pull(mirror.url, next)).layers[0]!.source).toBe('b')
  await mirror.later(MEMO_MS)
  const last = await stage.image({ repository, tag: 'last' })
  expect((await pull(mirror.url, last)).layers[0]!.source).toBe('a')
})

test('F13 an upstream gives the manifest and refuses the blobs: they come from another one', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })
  a.inject({ kind: 'status', status: 403 }, { kind: 'blob' })

  const pulled = await pull(mirror.url, image!)

  expect([pulled.manifest.source, pulled.config.source, pulled.layers[0]!.source]).toEqual(['a', 'b', 'b'])
  expect((await mirror.standing('a')).state).toBe('up')

  await a.heal()
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F15 404 on one upstream, there on the next: it serves, and the 404 counts against nobody', async () => {
  const [image, next] = await stage.images(2)
  const empty = await stage.addRegistry('empty')
  const a = stage.proxy('a')
  const right = a.target
  a.target = empty.url
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(a.asked.filter(({ status }) => status === 404).length).toBeGreaterThan(2)
  expect(await mirror.standing('a')).toMatchObject({ state: 'up', errors: 0 })

  a.target = right
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F16 404 on every upstream: 404 in JSON, remembered for negativeTtl, and what is pushed later can be pulled', async () => {
  const repository = 'library/later'
  await stage.image({ repository, tag: 'other' })
  const mirror = await stage.mirror({ registry: { negativeTtl: '30s' } })
  const path = `/v2/${repository}/manifests/latest`
  const blob = `/v2/${repository}/blobs/sha256:${'0'.repeat(64)}`

  const answers = [await mirror.read(path), await mirror.read(blob)]
  const image = await stage.image({ repository })
  const hub = stage.proxy('hub')
  hub.forget()
  const remembered = await mirror.read(path)

  expect(answers.map(({ status }) => status)).toEqual([404, 404])
  expect(answers.map(({ text }) => JSON.parse(text).errors[0].code)).toEqual(['MANIFEST_UNKNOWN', 'BLOB_UNKNOWN'])
  expect(remembered.status).toBe(404)
  expect(hub.asked).toEqual([])

  await mirror.later(31_000)
  expect((await pull(mirror.url, image)).layers[0]!.cache).toBe('miss')
})

// The registry is docker-registry with tokens; what it would say with 404 the proxy says as the Hub does, with its own 401.
test('F17 401 although the token is right, for a repository that does not exist: as good as a 404', async () => {
  const tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  stage.after(() => tokens.stop())
  const guarded = await stage.addRegistry('guarded', { storage: stage.storageOf('main'), tokens })
  const [missing, next] = await stage.images(2)
  const a = stage.proxy('a')
  const open = a.target
  a.target = guarded.url
  stage.after(async () => {
    a.target = open
  })
  const challenge = await fetch(`${guarded.url}/v2/${missing!.repository}/manifests/latest`)
  const headers = { 'www-authenticate': challenge.headers.get('www-authenticate')! }
  await challenge.body?.cancel()
  a.inject({ kind: 'status', status: 401, headers }, { repository: missing!.repository })
  a.inject({ kind: 'status', status: 401, headers }, { repository: 'library/nobody' })
  const mirror = await stage.mirror({ upstreams: ['a', 'b'] })

  const pulled = await pull(mirror.url, missing!)
  const nowhere = await mirror.read('/v2/library/nobody/manifests/latest')

  expect(pulled.layers[0]!.source).toBe('b')
  expect(tokens.asked).toContain(`repository:${missing!.repository}:pull`)
  expect(a.asked.some(({ authorization }) => authorization?.startsWith('Bearer '))).toBe(true)
  expect(nowhere.status).toBe(404)
  expect(nowhere.headers['www-authenticate']).toBeUndefined()
  expect((await mirror.standing('a')).state).toBe('up')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')

  await a.heal()
  await mirror.later(MEMO_MS)
  const again = await stage.image({ repository: missing!.repository, tag: 'again' })
  expect((await fetchManifest(mirror.url, again)).source).toBe('a')
})
