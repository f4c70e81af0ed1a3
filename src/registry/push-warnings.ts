import type { Digest } from '../oci/digest.js'
import type { Manifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'

/** Image specification, Non-distributable Layers; and Docker's own. */
const DEPRECATED_LAYER = /^application\/vnd\.(?:oci\.image\.layer\.nondistributable\.|docker\.image\.rootfs\.foreign\.)/

/**
 * What a client should be told of a manifest that was taken all the same, each a sentence for people.
 *
 * @param missing what it names and is not here
 */
export function warningsFor(manifest: Manifest, missing: readonly Digest[]): string[] {
  const warnings: string[] = []
  if (missing.length > 0) {
    const [first] = missing
    warnings.push(`${missing.length} of what this manifest names is not in this repository, ${first} for one`)
  }
  if (manifest.mediaType === MEDIA_TYPES.ociArtifact) {
    warnings.push('the artifact manifest is deprecated: use an image manifest with an artifactType')
  }
  if (manifest.blobs.some(({ mediaType }) => DEPRECATED_LAYER.test(mediaType))) {
    warnings.push('non-distributable layers are deprecated: push them as layers')
  }
  return warnings
}
