import type { Digest } from '../oci/digest.js'
import type { Descriptor } from '../oci/manifest.js'

export interface FetchedManifest {
  digest: Digest
  mediaType: string
  bytes: Buffer
  /** Which upstream gave it. */
  upstream: string
}

export interface ManifestHead {
  /** Undefined where the upstream does not say. */
  digest: Digest | undefined
  mediaType: string
  size: number | undefined
  upstream: string
}

export interface FetchedReferrers {
  descriptors: Descriptor[]
  /** Whether the upstream has applied `artifactType`. */
  filtered: boolean
}

/** A stream of a transfer, which is told how it went. */
export interface TransferStream extends BlobStream {
  /** It cannot be read on; an error that is not the upstream's does not count against it. */
  failed(error: unknown): void
}

/** A blob's bytes from some offset on. Whoever opened it reads `body` to its end or calls `destroy`. */
export interface BlobStream {
  /** Throws UpstreamError `slow`, `down` or `lying`. */
  body: AsyncIterable<Buffer>
  /** bytes of the whole blob, wherever the stream begins */
  size: number | undefined
  upstream: string
  /** Whether it goes on to the end of the blob, wherever it was asked to end. */
  toEnd: boolean
  /** Closes the connection; also right while the body is being read, which then fails. */
  destroy(): void
}
