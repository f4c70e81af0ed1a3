import type { Digest } from './digest.js'

/** How an answer came about; `X-Cache` and the statistics use these words. `local` is content pushed here. */
export type Outcome = 'hit' | 'join' | 'miss' | 'stale' | 'local'

/** A handle on bytes that are here or still arriving. Whoever opened it closes it, once. */
export interface BlobReader {
  /**
   * Reads at least one byte from `position` into `buffer`, waiting for bytes that are still being fetched.
   * The last byte of a fetched blob is not given before its digest has matched.
   *
   * @returns bytes read; 0 at the end
   * @throws {WrongBytesError} when bytes that it gave were wrong; anything else when more can no longer be had
   */
  read(buffer: Uint8Array, position: number): Promise<number>
  close(): Promise<void>
}

/** What a reader has given turned out not to be what the digest says: nobody can go on from there. */
export class WrongBytesError extends Error {
  override readonly name = 'WrongBytesError'

  constructor() {
    super('the bytes that were sent did not match the digest')
  }
}

/** A blob that can be read from any position, any number of times, until it is closed. */
export interface OpenBlob {
  digest: Digest
  /** bytes; `undefined` while an upstream that sends no length is being read */
  size: number | undefined
  outcome: Outcome
  /** The upstream that the bytes came or come from, when known. */
  source?: string | undefined
  /** The whole content, when it is in memory; `reader` serves it as well. */
  bytes?: Uint8Array
  reader: BlobReader
}

/** What is known of a blob without reading it. */
export interface BlobFacts {
  digest: Digest
  /** bytes */
  size: number
  outcome: Outcome
  source?: string | undefined
}

/** A manifest as it is served: the bytes as they were pushed or fetched. */
export interface ServedManifest {
  digest: Digest
  mediaType: string
  bytes: Uint8Array
  outcome: Outcome
  source?: string | undefined
  /** A Warning header (RFC 7234, 5.5): why this answer may be old. */
  warning?: string | undefined
}
