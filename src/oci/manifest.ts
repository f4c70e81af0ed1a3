import { type Digest, isDigest } from './digest.js'
import { OciError } from './errors.js'
import { MEDIA_TYPES } from './media-types.js'

/**
 * Points at content: image specification, Descriptor. Has what the specification lists and nothing else that stood there:
 * descriptors are written again in lists of referrers, and anything else may be nested deeper than can be written.
 */
export interface Descriptor {
  mediaType: string
  digest: Digest
  /** bytes */
  size: number
  /** Where the bytes may be had when no registry holds them (foreign layers). */
  urls?: string[]
  artifactType?: string
  annotations?: Record<string, string>
  platform?: Record<string, unknown>
  /** The content itself, in base64. */
  data?: string
}

/** What a registry needs to know of a manifest; its bytes are never rewritten. */
export interface Manifest {
  mediaType: string
  /** Manifests that an index lists. */
  manifests: Descriptor[]
  /** Config and layers (`blobs` of the old artifact manifest included). */
  blobs: Descriptor[]
  subject: Descriptor | undefined
  /** For referrers: `artifactType`, else the config's media type. */
  artifactType: string | undefined
  annotations: Record<string, string> | undefined
}

/** Manifests larger than this are neither fetched nor taken. */
export const MANIFEST_LIMIT = 8 * 1024 * 1024

/**
 * @param contentType what the answer or the push called it; wins over a missing `mediaType` field
 * @throws {OciError} MANIFEST_INVALID when it is no JSON object or a descriptor in it is malformed
 */
export function parseManifest(bytes: Uint8Array, contentType: string): Manifest {
  const json = parseObject(bytes)
  const mediaType = typeof json.mediaType === 'string' ? json.mediaType : contentType || derivedType(json)
  const config = optionalDescriptor(json.config)
  return {
    mediaType,
    manifests: descriptors(json.manifests),
    blobs: [...(config ? [config] : []), ...descriptors(json.layers), ...descriptors(json.blobs)],
    subject: optionalDescriptor(json.subject),
    // Listing Referrers: the config's type stands in when it is missing or empty.
    artifactType: typeof json.artifactType === 'string' && json.artifactType ? json.artifactType : config?.mediaType,
    annotations: isStringRecord(json.annotations) ? json.annotations : undefined,
  }
}

/** The same, but `undefined` for a manifest of a shape that we do not know: it is passed through all the same. */
export function readManifest(bytes: Uint8Array, contentType: string): Manifest | undefined {
  try {
    return parseManifest(bytes, contentType)
  } catch (error) {
    if (error instanceof OciError) return undefined
    throw error
  }
}

/** Everything that a manifest needs to be whole, each digest once. */
export function childrenOf(manifest: Manifest): Digest[] {
  return [...new Set([...manifest.manifests, ...manifest.blobs].map(({ digest }) => digest))]
}

/** Whether a registry holds the bytes, as it need not those of foreign layers. */
export function hasBytesHere({ urls }: Descriptor): boolean {
  return !Array.isArray(urls) || urls.length === 0
}

/** The type of a manifest that does not say: by its shape (image specification, Compatibility). */
export function derivedType(json: Record<string, unknown>): string {
  if (Array.isArray(json.manifests)) return MEDIA_TYPES.ociIndex
  if (json.schemaVersion === 1) return json.signatures ? MEDIA_TYPES.dockerSchema1Signed : MEDIA_TYPES.dockerSchema1
  return MEDIA_TYPES.ociManifest
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new OciError('MANIFEST_INVALID', 'the manifest is not JSON', { cause })
  }
  if (isRecord(json)) return json
  throw new OciError('MANIFEST_INVALID', 'the manifest is not a JSON object')
}

function descriptors(value: unknown): Descriptor[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw new OciError('MANIFEST_INVALID', 'a list of descriptors is expected')
  return value.map(descriptor)
}

function optionalDescriptor(value: unknown): Descriptor | undefined {
  return value === undefined || value === null ? undefined : descriptor(value)
}

function descriptor(value: unknown): Descriptor {
  if (isRecord(value) && typeof value.digest === 'string' && isDigest(value.digest)) {
    const { digest, size, mediaType } = value
    if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) {
      return { mediaType: isString(mediaType) ? mediaType : '', digest, size, ...optionalFields(value) }
    }
  }
  // Not the whole of it: it can be as large and as deep as the manifest.
  const digest = isRecord(value) && typeof value.digest === 'string' ? value.digest.slice(0, 160) : undefined
  throw new OciError('MANIFEST_INVALID', 'a descriptor needs a digest (sha256 or sha512) and a size', {
    detail: { digest },
  })
}

function optionalFields({ urls, artifactType, annotations, platform, data }: Record<string, unknown>) {
  return {
    ...(Array.isArray(urls) && { urls: urls.filter(isString) }),
    ...(isString(artifactType) && { artifactType }),
    ...(isStringRecord(annotations) && { annotations }),
    ...(isRecord(platform) && { platform: flat(platform) }),
    ...(isString(data) && { data }),
  }
}

/** Texts and lists of them: all that the specification has of a platform. */
function flat(platform: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(platform).filter(([, value]) => isString(value) || (Array.isArray(value) && value.every(isString))),
  )
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isStringRecord(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every(isString)
}
