import { expect, test } from 'vitest'
import { fetchBlob, fetchManifest, pull } from './client.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'a-pages', upstreams: ['a', 'b'] })

const COOL_DOWN_MS = 11_000

test('F18 a page with status 200 in place of a manifest: rejected, kept nowhere, the next upstream serves', async () => {
  const [image, lonely, next] = await stage.images(3)
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  const alone = await stage.mirror({ upstreams: ['a'] })
  const page = a.inject({ kind: 'html' }, { kind: 'manifest' })

  const pulled = await pull(mirror.url, image!)
  const byTag = await alone.read(`/v2/${lonely!.repository}/manifests/latest`)
  const byDigest = await alone.read(`/v2/${lonely!.repository}/manifests/${lonely!.digest}`)

  expect(page.met).toBeGreaterThan(2)
  expect(pulled.manifest.source).toBe('b')
  for (const answer of [byTag, byDigest]) {
    expect(answer.status).toBe(503)
    expect(JSON.parse(answer.text).errors[0].code).toBe('UNAVAILABLE')
  }

  page.end()
  for (const each of [mirror, alone]) {
    await each.later(COOL_DOWN_MS)
    await each.untilBack('a')
  }
  expect((await fetchManifest(alone.url, lonely!)).source).toBe('a')
  expect((await pull(alone.url, lonely!)).manifest.cache).toBe('hit')
  expect((await pull(mirror.url, next!)).manifest.source).toBe('a')
})

test('F19 a page with status 200 in place of a blob: kept nowhere, never given to a client, the next upstream serves', async () => {
  const [image, lonely, next] = await stage.images(3)
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  const alone = await stage.mirror({ upstreams: ['a'] })
  const { repository, layers } = lonely!
  const page = a.inject({ kind: 'html' }, { kind: 'blob' })

  const pulled = await pull(mirror.url, image!)
  const refused = await alone.read(`/v2/${repository}/blobs/${layers[0]!.digest}`)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(refused.status).toBe(503)
  expect(JSON.parse(refused.text).errors[0].code).toBe('UNAVAILABLE')

  page.end()
  for (const each of [mirror, alone]) {
    await each.later(COOL_DOWN_MS)
    await each.untilBack('a')
  }
  expect((await fetchBlob(alone.url, repository, layers[0]!)).cache).toBe('miss')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

// A portal that says that it sends a blob: no header gives it away, the length and the digest do.
test('F19 a page that is said to be a blob: the client gets the blob, or a connection that is reset', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  const alone = await stage.mirror({ upstreams: ['a'] })
  const headers = { 'content-type': 'application/octet-stream' }
  a.inject(
    { kind: 'status', status: 200, headers, body: '<!doctype html>'.repeat(20) },
    { kind: 'blob', method: 'GET' },
  )
  const [layer] = image!.layers

  const pulled = await pull(mirror.url, image!)
  const lonely = await fetchBlob(alone.url, image!.repository, layer!).catch((error: Error) => error)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(lonely).toBeInstanceOf(Error)

  await a.heal()
  for (const each of [mirror, alone]) await each.later(11 * 60_000)
  await alone.untilBack('a')
  expect((await fetchBlob(alone.url, image!.repository, layer!)).source).toBe('a')
  await mirror.untilBack('a')
  await expect.poll(async () => (await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})
