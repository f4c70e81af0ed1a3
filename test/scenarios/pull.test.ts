import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024

describe('a pull through one upstream', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  beforeEach(async () => {
    hub = await startUpstream({ auth: { kind: 'bearer' } })
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })
  })
  afterEach(closeAll)

  test('cold then warm: every byte once from upstream, the second pull asks nothing', async () => {
    const image = hub.addImage('library/app', 'v1', { layers: [2 * MIB, 1000] })

    const cold = await mirror.manifest('library/app', 'v1')
    const blobs = await Promise.all([image.config, ...image.layers].map((digest) => mirror.blob('library/app', digest)))
    const asked = hub.requests.length
    const warm = await mirror.manifest('library/app', 'v1')
    const again = await Promise.all([image.config, ...image.layers].map((digest) => mirror.blob('library/app', digest)))

    expect(cold).toMatchObject({
      status: 200,
      digest: image.manifest,
      headers: { 'x-cache': 'miss', 'x-cache-source': 'hub' },
    })
    expect(blobs.map(({ digest }) => digest)).toEqual([image.config, ...image.layers])
    expect(warm).toMatchObject({ status: 200, digest: image.manifest, headers: { 'x-cache': 'hit' } })
    expect(again.map(({ digest, headers }) => [digest, headers['x-cache']])).toEqual(
      [image.config, ...image.layers].map((digest) => [digest, 'hit']),
    )
    expect(hub.requests.length).toBe(asked)
    expect(hub.tokenRequests).toBe(1)
  })

  test.each([1, 8, 32])('%i clients, one cold blob: the upstream sends it once', async (clients) => {
    const digest = hub.addBlob(4 * MIB)

    const got = await Promise.all(Array.from({ length: clients }, () => mirror.blob('library/app', digest)))

    expect(new Set(got.map((each) => each.digest))).toEqual(new Set([digest]))
    const downloads = hub.requests.filter(({ path, status }) => path.includes('/blobs/') && status === 200)
    expect(downloads.map(({ bytesSent }) => bytesSent)).toEqual([4 * MIB])
    const outcomes = got.map(({ headers }) => headers['x-cache'])
    expect(outcomes.filter((outcome) => outcome === 'miss')).toHaveLength(1)
  })

  test('a client that joins late gets byte 0 at once and follows', async () => {
    const digest = hub.addBlob(6 * MIB)
    hub.bytesPerSecond = 8 * MIB
    const first = mirror.blob('library/app', digest)
    await expect.poll(() => hub.bytesSent).toBeGreaterThan(3 * MIB)
    hub.bytesPerSecond = 1

    const late = await request(`${mirror.url}/v2/library/app/blobs/${digest}`)
    hub.bytesPerSecond = undefined

    expect(late.headers['x-cache']).toBe('join')
    expect(digestOf(Buffer.from(await late.body.arrayBuffer()))).toBe(digest)
    expect((await first).digest).toBe(digest)
    expect(hub.count((asked) => asked.path.endsWith(digest) && asked.status === 200)).toBe(1)
  })

  test('the download outlives the client that began it', async () => {
    const digest = hub.addBlob(4 * MIB)
    hub.bytesPerSecond = 8 * MIB
    const response = await request(`${mirror.url}/v2/library/app/blobs/${digest}`)
    response.body.destroy()
    response.body.on('error', () => {})

    await expect
      .poll(async () => (await mirror.head(`/v2/library/app/blobs/${digest}`)).headers['x-cache'], { timeout: 5000 })
      .toBe('hit')

    expect(await mirror.blob('library/app', digest)).toMatchObject({ digest, headers: { 'x-cache': 'hit' } })
    expect(hub.count((asked) => asked.path.endsWith(digest) && asked.status === 200 && asked.method === 'GET')).toBe(1)
  })

  test('HEAD of a cold blob downloads nothing', async () => {
    const digest = hub.addBlob(4 * MIB)

    const head = await mirror.head(`/v2/library/app/blobs/${digest}`)

    expect(head).toMatchObject({
      status: 200,
      headers: { 'content-length': String(4 * MIB), 'docker-content-digest': digest },
    })
    expect(hub.count(/^GET .*blobs/)).toBe(0)
  })

  test('a range of a cold blob is a 206 as soon as its bytes are there, and the fill goes on', async () => {
    const content = randomBytes(4 * MIB)
    const digest = hub.addBlob(content)
    hub.bytesPerSecond = MIB

    const range = await mirror.blob('library/app', digest, { range: `bytes=${MIB}-${MIB + 99}` })

    expect(range).toMatchObject({ status: 206, headers: { 'content-range': `bytes ${MIB}-${MIB + 99}/${4 * MIB}` } })
    expect(range.digest).toBe(digestOf(content.subarray(MIB, MIB + 100)))
    expect(hub.bytesSent).toBeLessThan(4 * MIB)
    hub.bytesPerSecond = undefined
    expect((await mirror.blob('library/app', digest)).digest).toBe(digest)
    expect(hub.count((asked) => asked.path.endsWith(digest) && asked.status === 200)).toBe(1)
  })

  test.each([
    ['bytes=0-99', 206, 'bytes 0-99/2000', 0, 100],
    ['bytes=1900-', 206, 'bytes 1900-1999/2000', 1900, 2000],
    ['bytes=-100', 206, 'bytes 1900-1999/2000', 1900, 2000],
    ['bytes=abc', 200, undefined, 0, 2000],
  ])('warm, Range: %s is %i', async (range, status, contentRange, start, end) => {
    const content = randomBytes(2000)
    const digest = hub.addBlob(content)
    await mirror.blob('library/app', digest)

    const got = await mirror.blob('library/app', digest, { range })

    expect(got.status).toBe(status)
    expect(got.headers['content-range']).toBe(contentRange)
    expect(got.digest).toBe(digestOf(content.subarray(start, end)))
  })

  test('a range beyond the end is 416 with the size', async () => {
    const digest = hub.addBlob(2000)
    await mirror.blob('library/app', digest)

    const got = await mirror.blob('library/app', digest, { range: 'bytes=2000-' })

    expect(got).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */2000' } })
  })

  test('a large blob is served from its file, by several ranges and whole', async () => {
    const content = randomBytes(3 * MIB)
    const digest = hub.addBlob(content)
    await mirror.blob('library/app', digest)
    await expect.poll(async () => (await mirror.blob('library/app', digest)).headers['x-cache']).toBe('hit')

    const several = await mirror.blob('library/app', digest, { range: 'bytes=0-9,2000000-2000009' })

    expect(several.status).toBe(206)
    expect(several.headers['content-type']).toMatch(/^multipart\/byteranges/)
    expect(Number(several.headers['content-length'])).toBe(several.bytes)
  })

  test('a manifest keeps its bytes, type and digest, whatever its spacing', async () => {
    const odd = Buffer.from(
      '{\n   "schemaVersion": 2,\n   "config": {"mediaType":"x/y","digest":"sha256:' +
        '0'.repeat(64) +
        '","size":2},\n   "layers": []}\n',
    )
    const digest = hub.addManifest('library/app', odd, {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      tags: ['odd'],
    })

    const got = await mirror.manifest('library/app', 'odd')
    const head = await mirror.head('/v2/library/app/manifests/odd')

    expect(got).toMatchObject({
      status: 200,
      digest,
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json', 'docker-content-digest': digest },
    })
    expect(head.headers).toMatchObject({ 'content-length': String(odd.length), 'docker-content-digest': digest })
  })

  test('what an origin does not have is 404, and is not asked again for a while', async () => {
    const missing = `sha256:${'a'.repeat(64)}`

    const first = [
      await mirror.manifest('library/none', 'v1'),
      await mirror.manifest('library/none', missing),
      await mirror.blob('library/none', missing),
    ]
    const asked = hub.requests.length
    const second = [
      await mirror.manifest('library/none', 'v1'),
      await mirror.manifest('library/none', missing),
      await mirror.blob('library/none', missing),
    ]

    expect(first.map(({ status }) => status)).toEqual([404, 404, 404])
    expect(first.map(({ text }) => JSON.parse(text).errors[0].code)).toEqual([
      'MANIFEST_UNKNOWN',
      'MANIFEST_UNKNOWN',
      'BLOB_UNKNOWN',
    ])
    expect(second.map(({ status }) => status)).toEqual([404, 404, 404])
    expect(hub.requests.length).toBe(asked)
  })

  test('250 tags come complete over the upstream pages, and are paged here', async () => {
    await closeAll()
    hub = await startUpstream({ pageSize: 100 })
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })
    const { manifest } = hub.addImage('library/app', 'v0', { layers: [10] })
    for (let at = 1; at < 250; at++) hub.setTag('library/app', `v${at}`, manifest)

    const all = JSON.parse((await mirror.get('/v2/library/app/tags/list')).text)
    const page = await mirror.get('/v2/library/app/tags/list?n=20&last=v100')

    expect(all.tags).toHaveLength(250)
    expect(JSON.parse(page.text).tags).toEqual(all.tags.slice(all.tags.indexOf('v100') + 1).slice(0, 20))
    expect(page.headers.link).toMatch(/^<\/v2\/library\/app\/tags\/list\?n=20&last=v[0-9]+>; rel="next"$/)
  })

  test('nothing is left in fills/ when the blobs are in the store', async () => {
    const digest = hub.addBlob(MIB)
    await mirror.blob('library/app', digest)

    await expect.poll(() => readdir(join(mirror.storage, 'data', 'fills'))).toEqual([])
  })
})

describe('names', () => {
  afterEach(closeAll)

  test.each([
    ['/v2/hello/manifests/v1', 'library/hello', undefined],
    ['/v2/docker.io/hello/manifests/v1', 'library/hello', undefined],
    ['/v2/index.docker.io/library/hello/manifests/v1', 'library/hello', undefined],
    ['/v2/library/hello/manifests/v1?ns=docker.io', 'library/hello', 'docker.io'],
    ['/v2/ghcr.io/org/app/manifests/v1', 'org/app', undefined],
    ['/v2/org/app/manifests/v1?ns=ghcr.io', 'org/app', 'ghcr.io'],
  ])('%s asks for %s', async (path, repository, namespace) => {
    const hub = await startUpstream()
    const ghcr = await startUpstream()
    const mirror = await startMirror({
      registries: {
        'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]),
        'ghcr.io': { upstreams: [{ name: 'ghcr', url: ghcr.url, role: 'origin' }] },
      },
    })
    const upstream = repository === 'org/app' ? ghcr : hub
    const { manifest } = upstream.addImage(repository, 'v1', { layers: [10] })

    const got = await mirror.get(path)

    expect(got).toMatchObject({ status: 200, digest: manifest })
    expect(got.headers['oci-namespace']).toBe(namespace)
    expect(upstream.asked).toEqual([`GET /v2/${repository}/manifests/v1`])
  })

  test.each([
    '/v2/unknown.example/app/manifests/v1',
    '/v2/library/app/manifests/v1?ns=unknown.example',
    '/v2/localhost:1/app/manifests/v1',
  ])('%s is 404 and nobody is asked', async (path) => {
    const hub = await startUpstream()
    const mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })

    const got = await mirror.get(path)

    expect(got.status).toBe(404)
    expect(JSON.parse(got.text).errors[0].code).toBe('NAME_UNKNOWN')
    expect(hub.asked).toEqual([])
  })

  test('a push to a mirrored name is refused at once and nobody is asked', async () => {
    const hub = await startUpstream()
    const mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })

    const { statusCode, body } = await request(`${mirror.url}/v2/library/app/blobs/uploads/`, { method: 'POST' })

    expect(statusCode).toBe(403)
    expect(((await body.json()) as { errors: { code: string }[] }).errors[0]?.code).toBe('DENIED')
    expect(hub.asked).toEqual([])
  })
})
