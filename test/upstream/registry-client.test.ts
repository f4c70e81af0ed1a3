import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import type { BuiltInUpstream, Fault } from '../../src/doctor/built-in-upstream.js'
import { type Digest, digestFrom, digestOf, hasherFor, parseDigest } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { parseTag, referenceOf } from '../../src/oci/reference.js'
import { clientOf, closeAll, digestOfBody, REPOSITORY, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

const LATEST = referenceOf(parseTag('latest'))
const ABSENT = parseDigest(`sha256:${'0'.repeat(64)}`)

async function start() {
  const upstream = await startUpstream()
  return { upstream, client: clientOf(upstream.url) }
}

/** A fault for every request, or for those whose line matches. */
const always =
  (fault: Fault, pattern = /./) =>
  (request: { method: string; path: string }) =>
    pattern.test(`${request.method} ${request.path}`) ? fault : undefined

describe('getManifest', () => {
  test('gives the bytes, type and digest of a tag and of a digest', async () => {
    const { upstream, client } = await start()
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10], docker: true })

    const byTag = await client.getManifest(REPOSITORY, LATEST)
    const byDigest = await client.getManifest(REPOSITORY, referenceOf(manifest))

    expect(byTag).toMatchObject({ digest: manifest, mediaType: MEDIA_TYPES.dockerManifest, upstream: 'hub' })
    expect(byDigest.bytes.equals(byTag.bytes)).toBe(true)
  })

  test('that comes compressed although identity was asked for is undone', async () => {
    const { client, upstream } = await start()
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    upstream.fault = () => ({ kind: 'gzip' })

    expect(await client.getManifest(REPOSITORY, LATEST)).toMatchObject({ digest: manifest })
  })

  test.each<[string, Fault, string]>([
    ['a page', { kind: 'html' }, 'lying'],
    ['another digest in its header', { kind: 'wrong-digest' }, 'lying'],
    ['a flipped byte', { kind: 'flip', at: 3 }, 'lying'],
    ['another encoding', { kind: 'status', status: 200, headers: { 'content-encoding': 'br' }, body: '{}' }, 'lying'],
    [
      'a type that is no manifest',
      { kind: 'status', status: 200, headers: { 'content-type': 'text/plain' }, body: '{}' },
      'lying',
    ],
    [
      'JSON of something else',
      { kind: 'status', status: 200, headers: { 'content-type': 'application/json' }, body: '{"login":1}' },
      'lying',
    ],
    [
      'a list for a manifest',
      { kind: 'status', status: 200, headers: { 'content-type': MEDIA_TYPES.ociManifest }, body: '[]' },
      'lying',
    ],
    ['a body that breaks off', { kind: 'cut', after: 5 }, 'down'],
    ['a body that stalls', { kind: 'stall', after: 5 }, 'slow'],
    ['401 without a challenge', { kind: 'status', status: 401 }, 'denied'],
    ['402', { kind: 'status', status: 402 }, 'quota'],
    [
      '403 with a page',
      { kind: 'status', status: 403, headers: { 'content-type': 'text/html' }, body: '<p>' },
      'denied',
    ],
    ['404', { kind: 'status', status: 404 }, 'not-found'],
    ['429', { kind: 'status', status: 429, headers: { 'retry-after': '7' } }, 'limited'],
    ['500', { kind: 'status', status: 500 }, 'down'],
    ['503', { kind: 'status', status: 503 }, 'down'],
    ['a teapot', { kind: 'status', status: 418 }, 'lying'],
    ['no answer', { kind: 'hang' }, 'slow'],
    ['a reset connection', { kind: 'reset' }, 'down'],
  ])('%s is a failure of kind %o', async (_case, fault, kind) => {
    const { upstream, client } = await start()
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    upstream.fault = always(fault)

    const asked = client.getManifest(REPOSITORY, LATEST)

    await expect(asked).rejects.toMatchObject({ name: 'UpstreamError', kind, upstream: 'hub' })
    expect(upstream.requests).toHaveLength(1)
  })
})

describe('getBlob', () => {
  test('gives the whole and its size', async () => {
    const { upstream, client } = await start()
    const digest = upstream.addBlob(300_000)

    const stream = await client.getBlob(REPOSITORY, digest, 0)

    expect(stream.size).toBe(300_000)
    expect(await digestOfBody(stream.body, digest)).toBe(digest)
  })

  test('an absent blob is not found, and the word of an origin counts', async () => {
    const { client } = await start()

    await expect(client.getBlob(REPOSITORY, ABSENT, 0)).rejects.toMatchObject({
      kind: 'not-found',
      authoritative: true,
    })
  })
})

describe('headManifest', () => {
  test('gives digest, type and size of a tag', async () => {
    const { upstream, client } = await start()
    const { manifest, size } = upstream.addImage(REPOSITORY, 'latest', { layers: [10] })

    const head = await client.headManifest(REPOSITORY, LATEST)

    expect(head).toEqual({ digest: manifest, mediaType: MEDIA_TYPES.ociManifest, size, upstream: 'hub' })
  })

  test.each<[string, Fault]>([
    ['no digest', { kind: 'no-digest' }],
    ['a digest that is none', { kind: 'status', status: 200, headers: { 'docker-content-digest': 'md5:123' } }],
  ])('%s is left undefined', async (_case, fault) => {
    const { upstream, client } = await start()
    upstream.addImage(REPOSITORY, 'latest', { layers: [10] })
    upstream.fault = always(fault)

    expect(await client.headManifest(REPOSITORY, LATEST)).toMatchObject({ digest: undefined })
  })

  test('a page is a lie', async () => {
    const { upstream, client } = await start()
    upstream.fault = always({ kind: 'html' })

    await expect(client.headManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'lying' })
  })
})

describe('the type of a manifest that came without one', () => {
  const headers = { 'content-type': 'application/octet-stream' }
  test.each([
    [
      'its own field',
      { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerManifest, layers: [] },
      MEDIA_TYPES.dockerManifest,
    ],
    ['an index by its shape', { schemaVersion: 2, manifests: [] }, MEDIA_TYPES.ociIndex],
    ['a manifest by its shape', { schemaVersion: 2, layers: [] }, MEDIA_TYPES.ociManifest],
    ['schema 1 by its number', { schemaVersion: 1, fsLayers: [] }, MEDIA_TYPES.dockerSchema1],
  ])('is %s', async (_case, body, mediaType) => {
    const { upstream, client } = await start()
    upstream.fault = always({ kind: 'status', status: 200, headers, body: JSON.stringify(body) })

    expect(await client.getManifest(REPOSITORY, LATEST)).toMatchObject({ mediaType })
  })

  test('a signed schema 1 manifest may be named by another digest than that of its bytes', async () => {
    const { upstream, client } = await start()
    const headers = { 'content-type': MEDIA_TYPES.dockerSchema1Signed, 'docker-content-digest': ABSENT }
    const body = JSON.stringify({ schemaVersion: 1, signatures: [] })
    upstream.fault = always({ kind: 'status', status: 200, headers, body })

    expect(await client.getManifest(REPOSITORY, LATEST)).toMatchObject({ digest: digestOf(Buffer.from(body)) })
  })

  test('more than 8 MiB are not read', async () => {
    const { upstream, client } = await start()
    const headers = { 'content-type': MEDIA_TYPES.ociManifest }
    upstream.fault = always({ kind: 'status', status: 200, headers, body: ' '.repeat(9 * 1024 * 1024) })

    await expect(client.getManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'lying' })
  })
})

describe('statBlob', () => {
  test.each<[string, (method: string) => Fault | undefined]>([
    ['by HEAD', () => undefined],
    ['by the first byte where HEAD gives no length', (method) => (method === 'HEAD' ? { kind: 'chunked' } : undefined)],
    [
      'by the first byte where HEAD is refused',
      (method) => (method === 'HEAD' ? { kind: 'status', status: 405 } : undefined),
    ],
    [
      'by the whole where Range is ignored too',
      (method) => (method === 'HEAD' ? { kind: 'chunked' } : { kind: 'ignore-range' }),
    ],
  ])('gives the size %s', async (_case, fault) => {
    const { upstream, client } = await start()
    const digest = upstream.addBlob(50_000)
    upstream.fault = ({ method }) => fault(method)

    expect(await client.statBlob(REPOSITORY, digest)).toEqual({ size: 50_000, upstream: 'hub' })
  })

  test('a page has no size', async () => {
    const { upstream, client } = await start()
    upstream.fault = always({ kind: 'html' })

    await expect(client.statBlob(REPOSITORY, ABSENT)).rejects.toMatchObject({ kind: 'lying' })
  })
})

describe('a blob’s stream', () => {
  test('counts no silence while nobody reads', async () => {
    const { upstream, client } = await start()
    const digest = upstream.addBlob(8 * 1024 * 1024)
    const stream = await client.getBlob(REPOSITORY, digest, 0)
    const hash = hasherFor(digest)
    let paused = false

    for await (const chunk of stream.body) {
      hash.update(chunk)
      if (!paused) await sleep(500)
      paused = true
    }

    expect(digestFrom(hash)).toBe(digest)
  })

  test('closed while it is read fails, and its connection is gone', async () => {
    const { upstream, client } = await start()
    const digest = upstream.addBlob(50_000)
    upstream.fault = always({ kind: 'stall', after: 10_000 })
    const stream = await client.getBlob(REPOSITORY, digest, 0)
    const reading = digestOfBody(stream.body, digest)
    await expect.poll(() => upstream.bytesSent, { interval: 5 }).toBe(10_000)

    stream.destroy()

    await expect(reading).rejects.toMatchObject({ name: 'UpstreamError', message: 'the stream was closed' })
    await expect.poll(() => upstream.connections()).toBe(0)
  })

  test('of no bytes is empty', async () => {
    const { upstream, client } = await start()
    const digest = upstream.addBlob(0)

    const { body, size } = await client.getBlob(REPOSITORY, digest, 0)

    expect([size, await digestOfBody(body, digest)]).toEqual([0, digest])
  })

  test('may be of JSON: a config has that type at some registries', async () => {
    const { upstream, client } = await start()
    upstream.fault = always({
      kind: 'status',
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: '{}',
    })

    expect(await client.getBlob(REPOSITORY, ABSENT, 0)).toMatchObject({ size: 2 })
  })
})

describe('lists', () => {
  const tags = Array.from({ length: 250 }, (_, index) => `v${String(index).padStart(3, '0')}`)

  test('250 tags come whole, over all pages', async () => {
    const upstream = await startUpstream({ pageSize: 100, prefix: '/prefix', auth: { kind: 'bearer' } })
    const { manifest } = upstream.addImage(REPOSITORY, undefined, { layers: [1] })
    for (const tag of tags) upstream.setTag(REPOSITORY, tag, manifest)

    expect(await clientOf(upstream.url).listTags(REPOSITORY)).toEqual(tags)
    expect(upstream.count(/prefix.*tags\/list/)).toBe(4)
  })

  test.each([
    ['null', '{"name":"x","tags":null}', []],
    ['null among them', '{"tags":["a",null,"b"]}', ['a', 'b']],
    ['no field', '{}', []],
  ])('tags of %s are those that are there', async (_case, body, expected) => {
    const { upstream, client } = await start()
    upstream.fault = always({ kind: 'status', status: 200, body })

    expect(await client.listTags(REPOSITORY)).toEqual(expected)
  })

  test.each([
    ['that leads elsewhere', 'http://127.0.0.1:1/v2/x?token=secret'],
    ['that leads in a circle', '?n=1000'],
  ])('a next page %s is a lie', async (_case, link) => {
    const { upstream, client } = await start()
    upstream.fault = always({
      kind: 'status',
      status: 200,
      headers: { link: `<${link}>; rel="next"` },
      body: '{"tags":[]}',
    })

    await expect(client.listTags(REPOSITORY)).rejects.toMatchObject({ kind: 'lying' })
    expect(upstream.requests.length).toBeLessThan(4)
  })

  const withSubject = (upstream: BuiltInUpstream, subject: Digest, artifactType: string) =>
    upstream.addManifest(REPOSITORY, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      artifactType,
      layers: [],
      subject: { mediaType: MEDIA_TYPES.ociManifest, digest: subject, size: 1 },
    })

  test('referrers come with their types, filtered by the upstream if it can', async () => {
    const { upstream, client } = await start()
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [1] })
    const signature = withSubject(upstream, manifest, 'x/signature')
    withSubject(upstream, manifest, 'x/bill')

    const all = await client.listReferrers(REPOSITORY, manifest)
    const signatures = await client.listReferrers(REPOSITORY, manifest, 'x/signature')

    expect([all.descriptors.length, all.filtered]).toEqual([2, false])
    expect(signatures).toMatchObject({
      descriptors: [{ digest: signature, artifactType: 'x/signature' }],
      filtered: true,
    })
  })

  test('referrers of an upstream without that API are those of the fallback tag, or none', async () => {
    const upstream = await startUpstream({ referrers: false })
    const client = clientOf(upstream.url)
    const { manifest } = upstream.addImage(REPOSITORY, 'latest', { layers: [1] })
    expect(await client.listReferrers(REPOSITORY, manifest)).toEqual({ descriptors: [], filtered: false })
    const index = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [{ mediaType: 'x/y', digest: manifest, size: 3 }],
    }
    upstream.addManifest(REPOSITORY, index, { tags: [manifest.replace(':', '-')] })

    expect(await client.listReferrers(REPOSITORY, manifest, 'x/y')).toMatchObject({
      descriptors: [{ digest: manifest }],
      filtered: false,
    })
  })
})
