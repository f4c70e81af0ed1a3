import type { Digest } from '../oci/digest.js'
import { type Descriptor, readManifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'

/** What an index under a fallback tag lists; nothing where something else has that tag. */
export function readReferrers(bytes: Uint8Array): Descriptor[] {
  return readManifest(bytes, MEDIA_TYPES.ociIndex)?.manifests ?? []
}

/** The index without one of what it lists, all else that the specification has as it is; `undefined` where it does not list it. */
export function withoutReferrer(bytes: Uint8Array, referrer: Digest): { bytes: Buffer; left: number } | undefined {
  const index = readManifest(bytes, MEDIA_TYPES.ociIndex)
  const manifests = index?.manifests.filter(({ digest }) => digest !== referrer)
  if (!index || !manifests || manifests.length === index.manifests.length) return undefined
  const { mediaType, artifactType, subject, annotations } = index
  // What is undefined is left out.
  const written = JSON.stringify({ schemaVersion: 2, mediaType, artifactType, manifests, subject, annotations })
  return { bytes: Buffer.from(written), left: manifests.length }
}
