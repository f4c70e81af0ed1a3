import { expect, test } from 'vitest'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { TokenService } from '../helpers/token-service.js'
import { fetchBlob, fetchManifest, headTag, pull } from './client.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const stage = useStage({ name: 'b-digests', upstreams: ['a', 'hub'] })

const HOUR_MS = 3_600_000

const lines = ({ asked }: FaultProxy) => asked.map(({ line }) => line)

test('F33 what is cached is asked for by digest: no request upstream, not even for a token, and none after a restart', async () => {
  const tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  const guarded = await stage.addRegistry('guarded', { storage: stage.storageOf('main'), tokens })
  const hub = stage.proxy('hub')
  hub.target = guarded.url
  stage.after(async () => {
    hub.target = stage.registry.url
    await tokens.stop()
  })
  const [image, next] = await stage.images(2)
  const byDigest = { ...image!, tag: image!.digest }
  const mirror = await stage.mirror({ upstreams: ['hub'] })
  await pull(mirror.url, image!)
  const given = tokens.asked.length
  await mirror.later(HOUR_MS)
  hub.forget()

  const pulled = await pull(mirror.url, byDigest)
  const heads = await Promise.all(
    [image!.config, ...image!.layers].map(({ digest }) =>
      mirror.read(`/v2/${image!.repository}/blobs/${digest}`, {}, 'HEAD'),
    ),
  )
  await stage.stop(mirror)
  const restarted = await stage.mirror({ upstreams: ['hub'], folder: mirror.folder })
  const after = await pull(restarted.url, byDigest)

  const answers = [pulled, after].flatMap(({ manifest, config, layers }) => [manifest, config, ...layers])
  expect([...answers, ...heads].map(({ status, cache }) => `${status} ${cache}`)).toEqual(Array(8).fill('200 hit'))
  expect(given).toBe(1)
  expect([hub.accepted, ...lines(hub), ...tokens.asked.slice(given)]).toEqual([0])

  expect((await pull(restarted.url, next!)).layers[0]!.cache).toBe('miss')
  expect(tokens.asked).toHaveLength(given + 1)
})

test('F34 the first pull ever is by digest: it is fetched, checked and cached, with no word on the tag', async () => {
  const [image, next] = await stage.images(2)
  const [a, hub] = [stage.proxy('a'), stage.proxy('hub')]
  const mirror = await stage.mirror()
  // A manifest indeed, but another one.
  const wrong = `${a.url}/v2/${next!.repository}/manifests/${next!.digest}`
  const lie = a.inject({ kind: 'redirect', to: wrong }, { kind: 'manifest', reference: image!.digest })

  const pulled = await pull(mirror.url, { ...image!, tag: image!.digest })
  const asked = [...lines(a), ...lines(hub)]
  const again = await pull(mirror.url, { ...image!, tag: image!.digest })

  expect(lie.met).toBe(1)
  expect(pulled.manifest).toMatchObject({ digest: image!.digest, source: 'hub' })
  expect(asked.filter((line) => line.endsWith('/latest'))).toEqual([])
  expect([again.manifest, again.config, ...again.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])
  expect([...lines(a), ...lines(hub)]).toEqual(asked)

  await a.heal()
  await mirror.later(HOUR_MS)
  const manifest = await fetchManifest(mirror.url, next!, next!.digest)
  expect([manifest.cache, manifest.source]).toEqual(['miss', 'a'])
})

test('F38 HEAD of a manifest that is not cached: what GET says, and one request upstream for both', async () => {
  const [image, other] = await stage.images(2)
  const [hub, mirror] = [stage.proxy('hub'), await stage.mirror({ upstreams: ['hub'] })]

  for (const [each, reference] of [
    [image!, 'latest'],
    [other!, other!.digest],
  ] as const) {
    hub.forget()
    const head = await headTag(mirror.url, { ...each, tag: reference })
    const got = await fetchManifest(mirror.url, each, each.digest)
    expect(facts(head)).toEqual(facts(got))
    expect(lines(hub)).toHaveLength(1)
  }
  const [head, got] = await Promise.all(
    (['HEAD', 'GET'] as const).map((method) => mirror.read('/v2/library/nobody/manifests/latest', {}, method)),
  )
  expect(facts(head!)).toEqual(facts(got!))
  expect(head).toMatchObject({ status: 404, bytes: 0 })

  function facts({ status, headers }: Awaited<ReturnType<typeof headTag>>) {
    return [status, headers['content-type'], headers['content-length'], headers['docker-content-digest'], headers.etag]
  }
})

test('F39 behind another accelerator HEAD of a blob that neither has tells its length, and a pull works through both', async () => {
  const [image, next] = await stage.images(2)
  const hub = stage.proxy('hub')
  const inner = await stage.mirror({ upstreams: ['hub'] })
  const outer = await stage.mirror({ upstreams: [{ name: 'inner', url: inner.url, role: 'origin' }] })

  for (const each of [image!, next!]) {
    const [layer] = each.layers
    hub.forget()
    const head = await outer.read(`/v2/${each.repository}/blobs/${layer!.digest}`, {}, 'HEAD')
    const bytes = hub.bytes
    const pulled = await pull(outer.url, each)
    const again = await fetchBlob(inner.url, each.repository, layer!)

    expect(head.status).toBe(200)
    expect(head.headers['content-length']).toBe(String(layer!.size))
    expect(head.headers['docker-content-digest']).toBe(layer!.digest)
    expect(bytes).toBe(0)
    expect(pulled.layers[0]).toMatchObject({ cache: 'miss', source: 'inner' })
    expect(again.cache).toBe('hit')
    expect(hub.blobs.map(({ bytes }) => bytes).sort()).toEqual([each.config.size, layer!.size].sort())
  }
})
