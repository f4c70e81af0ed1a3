import { describe, expect, test } from 'vitest'
import { parseEndpoint } from '../../src/oci/endpoint.js'
import { refusalOf } from './refusal.js'

const DIGEST = `sha256:${'0'.repeat(64)}`
const tag = (name: string) => ({ kind: 'tag', tag: name })

describe('parseEndpoint', () => {
  test.each([
    ['', { kind: 'base' }],
    ['_catalog', { kind: 'catalog' }],
    ['nginx/manifests/latest', { kind: 'manifest', repository: 'nginx', reference: tag('latest') }],
    [`a/b/manifests/${DIGEST}`, { kind: 'manifest', repository: 'a/b', reference: { kind: 'digest', digest: DIGEST } }],
    [`a/b/blobs/${DIGEST}`, { kind: 'blob', repository: 'a/b', digest: DIGEST }],
    [`a/b/blobs/${DIGEST.replace(':', '%3A')}`, { kind: 'blob', repository: 'a/b', digest: DIGEST }],
    ['a/b/blobs/uploads/', { kind: 'uploads', repository: 'a/b' }],
    ['a/b/blobs/uploads', { kind: 'uploads', repository: 'a/b' }],
    ['a/b/blobs/uploads/12-ab_C', { kind: 'upload', repository: 'a/b', session: '12-ab_C' }],
    ['a/b/tags/list', { kind: 'tags', repository: 'a/b' }],
    [`a/b/referrers/${DIGEST}`, { kind: 'referrers', repository: 'a/b', digest: DIGEST }],
    ['registry.example:5000/a/tags/list', { kind: 'tags', repository: 'registry.example:5000/a' }],
    ['registry.example%3a5000/a/tags/list', { kind: 'tags', repository: 'registry.example:5000/a' }],
  ])('%s', (path, endpoint) => {
    expect(parseEndpoint(path)).toEqual(endpoint)
  })

  test.each([
    ['manifests/manifests/list', { kind: 'manifest', repository: 'manifests', reference: tag('list') }],
    ['a/tags/tags/list', { kind: 'tags', repository: 'a/tags' }],
    ['a/manifests/tags/list', { kind: 'tags', repository: 'a/manifests' }],
    ['a/blobs/uploads/manifests/v1', { kind: 'manifest', repository: 'a/blobs/uploads', reference: tag('v1') }],
    ['uploads/manifests/uploads', { kind: 'manifest', repository: 'uploads', reference: tag('uploads') }],
    ['a/tags/manifests/list', { kind: 'manifest', repository: 'a/tags', reference: tag('list') }],
  ])('a repository may be called like an endpoint: %s', (path, endpoint) => {
    expect(parseEndpoint(path)).toEqual(endpoint)
  })

  test.each([
    ['manifests/latest', 'NAME_INVALID', 400],
    ['/manifests/latest', 'NAME_INVALID', 400],
    ['a//manifests/latest', 'NAME_INVALID', 400],
    ['A/manifests/latest', 'NAME_INVALID', 400],
    [`${'a'.repeat(300)}/manifests/latest`, 'NAME_INVALID', 400],
    ['../tags/list', 'NAME_INVALID', 400],
    ['..', 'NAME_INVALID', 400],
    ['a/..', 'NAME_INVALID', 400],
    ['./_catalog', 'NAME_INVALID', 400],
    ['a%2fb/tags/list', 'NAME_INVALID', 400],
    ['a/manifests/lat%65st', 'NAME_INVALID', 400],
    ['a/manifests/', 'MANIFEST_INVALID', 400],
    ['a/manifests/-latest', 'MANIFEST_INVALID', 400],
    ['a/blobs/', 'DIGEST_INVALID', 400],
    ['a/blobs/latest', 'DIGEST_INVALID', 400],
    ['a/referrers/latest', 'DIGEST_INVALID', 400],
    ['a/blobs/uploads/a.b', 'BLOB_UPLOAD_UNKNOWN', 404],
    [`a/blobs/uploads/${'a'.repeat(129)}`, 'BLOB_UPLOAD_UNKNOWN', 404],
    ['a', 'NAME_UNKNOWN', 404],
    ['a/tags/', 'NAME_UNKNOWN', 404],
    ['_catalog/', 'NAME_UNKNOWN', 404],
  ])('%s is %s %i', (path, code, status) => {
    expect(refusalOf(() => parseEndpoint(path))).toEqual([code, status])
  })
})
