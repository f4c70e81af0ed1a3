/** Manifest and index media types that exist, Docker's and OCI's. */
export const MEDIA_TYPES = {
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociArtifact: 'application/vnd.oci.artifact.manifest.v1+json',
} as const

/** The types of which it is known where they name what they need; the last is what ORAS wrote before OCI had artifacts. */
const KNOWN: ReadonlySet<string> = new Set([
  ...Object.values(MEDIA_TYPES),
  'application/vnd.cncf.oras.artifact.manifest.v1+json',
])

/** Asked of every upstream: the whole set, whatever the client listed, so that the answer is what exists. */
export const MANIFEST_ACCEPT = [
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.dockerList,
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.dockerManifest,
  MEDIA_TYPES.ociArtifact,
  MEDIA_TYPES.dockerSchema1Signed,
  MEDIA_TYPES.dockerSchema1,
  '*/*;q=0.1',
].join(', ')

/** The bare type of a Content-Type header, lower case, without parameters. */
export function bareType(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]!.trim().toLowerCase()
}

/** A type that a manifest may be served as: it is JSON, or a vendor's own; never a page or raw bytes. */
export function isManifestType(type: string): boolean {
  return type.startsWith('application/') && type !== 'application/octet-stream' && !type.includes('html')
}

/** Whether `parseManifest` finds all that a manifest of this type needs; of any other the names may be anywhere in it. */
export function isKnownManifestType(type: string): boolean {
  return KNOWN.has(type.toLowerCase())
}
