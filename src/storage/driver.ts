import type { BlobReader } from '../oci/content.js'

/** An open object; it can be read to its end even if its key is deleted or replaced meanwhile. */
export interface StoredObject extends BlobReader {
  /** bytes */
  readonly size: number
}

export interface KeyFacts {
  /** bytes */
  size: number
  /** ms since the epoch */
  modifiedAt: number
}

/**
 * Bytes under keys: the whole contract between the mirror and a place to keep things. Keys are relative,
 * `/`-separated and made by `layout.ts` alone. A key is absent or complete: no reader ever sees half a write.
 * `test/storage/driver-contract.ts` holds every driver to this file.
 */
export interface StorageDriver {
  /** For logs: `fs`. */
  readonly name: string

  /** @returns size in bytes and last change in ms since the epoch, or `undefined` when the key is absent */
  stat(key: string): Promise<KeyFacts | undefined>

  /** The same of each of several hundred keys, which together takes less time. */
  statAll(keys: readonly string[]): Promise<(KeyFacts | undefined)[]>

  /** The caller closes it. @returns `undefined` when the key is absent */
  open(key: string): Promise<StoredObject | undefined>

  /** A small object whole. @returns `undefined` when the key is absent */
  get(key: string): Promise<Buffer | undefined>

  /** Writes a small object whole, replacing what was there; on stable storage when the promise resolves. */
  put(key: string, bytes: Uint8Array | string): Promise<void>

  /**
   * Publishes a finished local file under `key`, replacing what was there; on stable storage when the promise
   * resolves. The file is gone afterwards. It lies in `stagingDir`.
   */
  adopt(file: string, key: string): Promise<void>

  /** Deleting an absent key is no error. It is on stable storage at the latest after `settle`. */
  delete(key: string): Promise<void>

  /** As `delete`, for what may come back after a power failure: nobody misses it, and nobody minds it. */
  discard(key: string): Promise<void>

  /** Resolves when all that `delete` has done is on stable storage: to be called before what it pointed to is discarded. */
  settle(): Promise<void>

  /** The names directly below `prefix` in lexical order, those that have keys below them ending in `/`. */
  list(prefix: string): Promise<string[]>

  /**
   * The same names as they are come upon, in no order and not all in memory: for places too full to be listed whole.
   * What comes or goes meanwhile may be among them or not.
   */
  names(prefix: string): AsyncIterable<string>

  /** Lets go of what is left of `prefix` where no key is below it: a crash in the middle of a deletion leaves such. */
  tidy(prefix: string): Promise<void>
}
