import { afterEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../src/doctor/built-in-upstream.js'
import { parseDigest } from '../../src/oci/digest.js'
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
const always = (fault: Fault, pattern = /./) => (request: { method: string; path: string }) =>
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

  test.each<[string, Fault, string]>([
    ['a page', { kind: 'html' }, 'lying'],
    ['another digest in its header', { kind: 'wrong-digest' }, 'lying'],
    ['a flipped byte', { kind: 'flip', at: 3 }, 'lying'],
    ['gzip', { kind: 'gzip' }, 'lying'],
    ['a type that is no manifest', { kind: 'status', status: 200, headers: { 'content-type': 'text/plain' }, body: '{}' }, 'lying'],
    ['JSON of something else', { kind: 'status', status: 200, headers: { 'content-type': 'application/json' }, body: '{"login":1}' }, 'lying'],
    ['a list for a manifest', { kind: 'status', status: 200, headers: { 'content-type': MEDIA_TYPES.ociManifest }, body: '[]' }, 'lying'],
    ['a body that breaks off', { kind: 'cut', after: 5 }, 'down'],
    ['a body that stalls', { kind: 'stall', after: 5 }, 'slow'],
    ['401 without a challenge', { kind: 'status', status: 401 }, 'denied'],
    ['402', { kind: 'status', status: 402 }, 'quota'],
    ['403 with a page', { kind: 'status', status: 403, headers: { 'content-type': 'text/html' }, body: '<p>' }, 'denied'],
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

    await expect(client.getBlob(REPOSITORY, ABSENT, 0)).rejects.toMatchObject({ kind: 'not-found', authoritative: true })
  })
})
