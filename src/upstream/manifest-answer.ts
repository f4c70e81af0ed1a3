import { algorithmOf, type Digest, digestOf, isDigest } from '../oci/digest.js'
import { derivedType, parseManifest } from '../oci/manifest.js'
import { bareType, isManifestType, MEDIA_TYPES } from '../oci/media-types.js'
import type { Reference } from '../oci/reference.js'
import { UpstreamError } from './errors.js'

export interface ManifestAnswer {
  reference: Reference
  bytes: Buffer
  /** The Content-Type header. */
  contentType: string | undefined
  /** The Docker-Content-Digest header. */
  digestHeader: string | undefined
  upstream: string
}

/** Types that say no more than that there are bytes, or JSON: the manifest itself is asked. */
const GENERIC = new Set(['', 'application/octet-stream', 'application/json'])
const MANIFEST_FIELDS = ['schemaVersion', 'manifests', 'layers', 'config', 'blobs']

/**
 * Checks that an answer is the manifest that was asked for.
 *
 * @returns its digest, of the algorithm asked by, and its media type
 * @throws {UpstreamError} `lying`
 */
export function checkManifest(answer: ManifestAnswer): { digest: Digest; mediaType: string } {
  const json = parseObject(answer)
  const mediaType = mediaTypeOf(answer, json)
  return { digest: digestChecked(answer, mediaType), mediaType }
}

/** @throws {UpstreamError} `lying` for a type that no manifest has, such as a page's */
export function checkManifestType(contentType: string | undefined, upstream: string): string {
  const type = bareType(contentType)
  if (GENERIC.has(type) || isManifestType(type)) return type
  throw new UpstreamError('lying', `the manifest came as ${type.slice(0, 80)}`, { upstream, foreign: true })
}

function mediaTypeOf({ contentType, upstream, bytes }: ManifestAnswer, json: Record<string, unknown>): string {
  const type = checkManifestType(contentType, upstream)
  if (!GENERIC.has(type)) return type
  if (!MANIFEST_FIELDS.some((field) => field in json))
    throw new UpstreamError('lying', 'JSON that is no manifest', { upstream })
  try {
    const { mediaType } = parseManifest(bytes, '')
    return isManifestType(mediaType) ? mediaType : derivedType(json)
  } catch (cause) {
    throw new UpstreamError('lying', 'a malformed manifest', { upstream, cause })
  }
}

function digestChecked({ reference, bytes, digestHeader, upstream }: ManifestAnswer, mediaType: string): Digest {
  if (reference.kind === 'digest') {
    const { digest } = reference
    if (digestOf(bytes, algorithmOf(digest)) === digest) return digest
    throw new UpstreamError('lying', 'the manifest is not the one of its digest', { upstream })
  }
  // a signed schema 1 manifest is named by the digest of its payload, without the signatures around it
  const signed = mediaType === MEDIA_TYPES.dockerSchema1Signed
  if (signed || digestHeader === undefined || !isDigest(digestHeader)) return digestOf(bytes)
  const digest = digestOf(bytes, algorithmOf(digestHeader))
  if (digest === digestHeader) return digest
  throw new UpstreamError('lying', 'the manifest does not match its Docker-Content-Digest', { upstream })
}

function parseObject({ bytes, upstream }: ManifestAnswer): Record<string, unknown> {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new UpstreamError('lying', 'the manifest is not JSON', { upstream, foreign: true, cause })
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>
  throw new UpstreamError('lying', 'the manifest is not a JSON object', { upstream })
}
