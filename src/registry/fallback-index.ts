import type { Digest } from '../oci/digest.js'
import { type Descriptor, readManifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'

/** What an index under a fallback tag lists; nothing where something else has that tag. */
export function readReferrers(bytes: Uint8Array): Descriptor[] {
  return readManifest(bytes, MEDIA_TYPES.ociIndex)?.manifests ?? []
}

/** The index without one of what it lists, all else as it is; `undefined` where it does not list it. */
export function withoutReferrer(bytes: Uint8Array, referrer: Digest): { bytes: Buffer; left: number } | undefined {
  const listed = readReferrers(bytes)
  const manifests = listed.filter(({ digest }) => digest !== referrer)
  if (manifests.length === listed.length) return undefined
  const index = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>
  return { bytes: Buffer.from(JSON.stringify({ ...index, manifests })), left: manifests.length }
}
