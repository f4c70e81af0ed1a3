import type { Digest } from '../oci/digest.js'
import type { Descriptor, Manifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'
import type { RepositoryLinks } from './repository-links.js'

/** A manifest that is put into a repository. */
export interface LinkedManifest {
  digest: Digest
  /** bytes */
  size: number
  manifest: Manifest
  /** It is put under a fallback tag alone. */
  fallback: boolean
}

/** Writes the links that make a manifest part of its repository, among the referrers of its subject too. */
export async function linkManifest(
  links: RepositoryLinks,
  { digest, size, manifest, fallback }: LinkedManifest,
): Promise<void> {
  const { mediaType, subject } = manifest
  const before = fallback ? await links.manifest(digest) : undefined
  // Somebody may use what was put here in another way before.
  const isFallback = fallback && mediaType === MEDIA_TYPES.ociIndex && (!before || before.fallback === true)
  await links.addManifest(digest, {
    mediaType,
    size,
    ...(subject && { subject: subject.digest }),
    ...(isFallback && { fallback: true }),
  })
  if (subject) await links.addReferrer(subject.digest, describe(digest, size, manifest))
}

/** What the referrers API says of a manifest (distribution specification, Listing Referrers). */
function describe(digest: Digest, size: number, { mediaType, artifactType, annotations }: Manifest): Descriptor {
  return { mediaType, digest, size, ...(artifactType && { artifactType }), ...(annotations && { annotations }) }
}
