import { describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { childrenOf, parseManifest } from '../../src/oci/manifest.js'
import { bareType, isManifestType, MANIFEST_ACCEPT, MEDIA_TYPES } from '../../src/oci/media-types.js'
import { refusalOf } from './refusal.js'

const parse = (json: unknown, type = '') =>
  parseManifest(Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)), type)
const descriptor = (content: string, rest: object = {}) => ({
  mediaType: 'application/x',
  digest: digestOf(Buffer.from(content)),
  size: content.length,
  ...rest,
})
const config = descriptor('config', { mediaType: 'application/vnd.oci.image.config.v1+json' })
const layer = descriptor('layer')

describe('parseManifest', () => {
  test('an image: config and layers, each child once', () => {
    const manifest = parse({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers: [layer, layer] })

    expect(manifest).toMatchObject({ mediaType: MEDIA_TYPES.ociManifest, manifests: [], subject: undefined })
    expect(childrenOf(manifest)).toEqual([config.digest, layer.digest])
  })

  test('an index: its manifests, with their platforms', () => {
    const platform = { os: 'linux', architecture: 'arm64' }
    const manifest = parse({ schemaVersion: 2, manifests: [descriptor('a', { platform }), descriptor('b')] })

    expect(manifest.mediaType).toBe(MEDIA_TYPES.ociIndex)
    expect(manifest.manifests[0]).toMatchObject({ platform })
    expect(childrenOf(manifest)).toEqual([digestOf(Buffer.from('a')), digestOf(Buffer.from('b'))])
  })

  test('an artifact of the old kind: blobs and subject', () => {
    const subject = descriptor('subject')
    const manifest = parse({
      mediaType: MEDIA_TYPES.ociArtifact,
      artifactType: 'application/sbom',
      blobs: [layer],
      subject,
    })

    expect(manifest).toMatchObject({ artifactType: 'application/sbom', subject, blobs: [layer] })
  })

  test.each([
    ['its own word', { mediaType: 'application/own' }, 'application/other', 'application/own'],
    ['the Content-Type', {}, 'application/other', 'application/other'],
    ['an index by its shape', { manifests: [] }, '', MEDIA_TYPES.ociIndex],
    ['an image by its shape', { layers: [] }, '', MEDIA_TYPES.ociManifest],
    ['schema 1', { schemaVersion: 1 }, '', MEDIA_TYPES.dockerSchema1],
    ['schema 1, signed', { schemaVersion: 1, signatures: [{}] }, '', MEDIA_TYPES.dockerSchema1Signed],
  ])('the type is %s', (_case, json, contentType, expected) => {
    expect(parse(json, contentType).mediaType).toBe(expected)
  })

  test.each([
    ['its own', 'application/sbom', 'application/sbom'],
    ['the config’s when it is empty', '', config.mediaType],
    ['the config’s when it is missing', undefined, config.mediaType],
  ])('the artifact type is %s', (_case, artifactType, expected) => {
    expect(parse({ artifactType, config }).artifactType).toBe(expected)
  })

  test('null stands for absent', () => {
    expect(parse({ config: null, layers: null, subject: null, manifests: null })).toMatchObject({
      manifests: [],
      blobs: [],
      subject: undefined,
      artifactType: undefined,
    })
  })

  test('annotations are taken when they are texts', () => {
    expect(parse({ annotations: { a: 'b' } }).annotations).toEqual({ a: 'b' })
    expect(parse({ annotations: { a: 1 } }).annotations).toBeUndefined()
  })

  test.each([
    ['nothing', ''],
    ['a page', '<html></html>'],
    ['a list', '[]'],
    ['null', 'null'],
    ['half of it', '{"schemaVersion":2'],
    ['layers that are no list', { layers: layer }],
    ['a layer that is no descriptor', { layers: ['sha256:a'] }],
    ['a digest that is none', { layers: [{ ...layer, digest: 'sha256:a' }] }],
    ['a size below 0', { layers: [{ ...layer, size: -1 }] }],
    ['a size that is text', { layers: [{ ...layer, size: '5' }] }],
    ['no size', { config: { digest: layer.digest } }],
    ['a subject that is none', { subject: {} }],
  ])('%s is MANIFEST_INVALID', (_case, json) => {
    expect(refusalOf(() => parse(json))).toEqual(['MANIFEST_INVALID', 400])
  })

  test('bytes that are no UTF-8 are MANIFEST_INVALID', () => {
    expect(refusalOf(() => parseManifest(Buffer.from([0x7b, 0xff, 0x7d]), ''))).toEqual(['MANIFEST_INVALID', 400])
  })

  test('a descriptor has what the specification lists, as far as it is of the right kind, and nothing else', () => {
    const known = {
      ...layer,
      urls: ['https://a.example'],
      artifactType: 'application/x',
      annotations: { a: 'b' },
      platform: { os: 'linux', architecture: 'amd64', 'os.features': ['win32k'] },
      data: 'e30=',
    }
    const platform = { ...known.platform, more: { a: 1 } }
    const json = {
      manifests: [
        { ...known, platform, more: 'x' },
        { ...layer, urls: 1, artifactType: 1, annotations: { a: 1 }, platform: 1, data: 1 },
      ],
    }

    expect(parse(json).manifests).toEqual([known, layer])
  })

  test('a refusal does not repeat what was sent, however large and deep', () => {
    const deep = `{"layers":[${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}]}`

    expect(() => parse(deep)).toThrow(
      expect.objectContaining({ code: 'MANIFEST_INVALID', detail: { digest: undefined } }),
    )
  })
})

describe('media types', () => {
  test.each([
    ['application/json; charset=utf-8', 'application/json'],
    [' Application/JSON ', 'application/json'],
    ['', ''],
    [undefined, ''],
  ])('the bare type of %s is %s', (header, type) => {
    expect(bareType(header)).toBe(type)
  })

  test.each([...Object.values(MEDIA_TYPES), 'application/json', 'application/vnd.vendor.thing'])(
    '%s may be a manifest',
    (type) => {
      expect(isManifestType(type)).toBe(true)
    },
  )

  test.each(['', 'text/html', 'text/plain', 'application/xhtml+xml', 'application/octet-stream', 'image/png'])(
    '%s is none',
    (type) => {
      expect(isManifestType(type)).toBe(false)
    },
  )

  test('every type is asked for', () => {
    expect(Object.values(MEDIA_TYPES).filter((type) => !MANIFEST_ACCEPT.split(', ').includes(type))).toEqual([])
  })
})
