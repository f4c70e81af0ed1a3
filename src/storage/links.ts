import { type Digest, isDigest } from '../oci/digest.js'
import type { Descriptor } from '../oci/manifest.js'

/** What a repository's `_manifests/<algorithm>/<hex>` holds, as JSON. */
export interface ManifestLink {
  /** As it was pushed or fetched; a manifest need not say it of itself. */
  mediaType: string
  /** bytes; absent where it was not written down */
  size?: number
  /** The manifest that it refers to, among whose referrers it is listed. */
  subject?: Digest
  /**
   * When the index that named it, or the manifest that it refers or is attached to, was deleted, in ms since the epoch:
   * what has no tag, or only such as `sha256-<hex>.sig`, and nothing else that needs it goes from then on. A new push takes
   * it away.
   */
  orphanedAt?: number
  /**
   * An index of referrers that was put here under its fallback tag alone, `sha256-<hex>`: when another one has that tag it
   * goes, unless something else needs it. A push by digest takes this away.
   */
  fallback?: true
}

/** What a local repository's `_tags/<tag>` holds, as JSON; the pull-through half keeps more in its own. */
export interface TagLink {
  digest: Digest
  mediaType: string
  /** When it was put there last, in ms since the epoch; absent where it was not written down. */
  taggedAt?: number
}

/** @returns `undefined` for what is no link: the manifest reads as absent */
export function parseManifestLink(bytes: Uint8Array): ManifestLink | undefined {
  const json = parseRecord(bytes)
  if (typeof json?.mediaType !== 'string') return undefined
  const { mediaType, size, subject, orphanedAt, fallback } = json
  return {
    mediaType,
    ...(typeof size === 'number' && { size }),
    ...(typeof subject === 'string' && isDigest(subject) && { subject }),
    ...(typeof orphanedAt === 'number' && { orphanedAt }),
    ...(fallback === true && { fallback }),
  }
}

/** @returns `undefined` for what is no link: the tag reads as absent */
export function parseTagLink(bytes: Uint8Array): TagLink | undefined {
  const json = parseRecord(bytes)
  if (typeof json?.digest !== 'string' || !isDigest(json.digest) || typeof json.mediaType !== 'string') return undefined
  const { digest, mediaType, taggedAt } = json
  return { digest, mediaType, ...(typeof taggedAt === 'number' && { taggedAt }) }
}

/** A referrer's link holds its descriptor, as the referrers API answers it. @returns `undefined` for what is none */
export function parseReferrerLink(bytes: Uint8Array): Descriptor | undefined {
  const json = parseRecord(bytes)
  if (typeof json?.digest !== 'string' || !isDigest(json.digest)) return undefined
  if (typeof json.mediaType !== 'string' || typeof json.size !== 'number') return undefined
  return json as unknown as Descriptor
}

function parseRecord(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
