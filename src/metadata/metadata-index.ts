import type { Digest } from '../oci/digest.js'

/** What is known of a stored blob, manifests included. */
export interface BlobRow {
  digest: Digest
  /** bytes */
  size: number
  /** It was fetched, and may be evicted and fetched again. */
  cached: boolean
  /** It was pushed here; as long as that is so it is never evicted. */
  pushed: boolean
  /** The upstream that it came from. */
  source: string | undefined
  /** The last use, in ms since the epoch. */
  usedAt: number
}

/** A blob that has a file, as the storage tells of it. */
export interface FoundBlob {
  digest: Digest
  /** bytes */
  size: number
  manifest: boolean
  /** A repository that is pushed to links to it. */
  pushed: boolean
  /** What it needs, where that is known. */
  children?: Digest[] | undefined
}

export interface CacheTotals {
  /** Blobs that were fetched, manifests not counted. */
  blobs: number
  manifests: number
  /** What the cache takes on disk, in bytes, in whole blocks. */
  sizeBytes: number
}

/**
 * What the stored bytes are, who needs them and when they were last used. It can be lost at any time: everything
 * in it but recency and totals is found again by `rebuild.ts` from the storage alone.
 */
export interface MetadataIndex {
  find(digest: Digest): BlobRow | undefined
  /** Notes that `digest` was fetched; called before the bytes are published, so that none are ever unaccounted. */
  addCached(blob: { digest: Digest; size: number; manifest: boolean; source?: string | undefined }): void
  /** Notes that `digest` was pushed here. */
  addPushed(blob: { digest: Digest; size: number; manifest: boolean }): void
  /**
   * Notes what was found to be stored, written in one go. A row that is there keeps what it says, and is pushed from now on
   * where what was found is.
   *
   * @returns how many were not known
   */
  addFound(blobs: readonly FoundBlob[]): number
  /** What using `parent` also uses: an index's manifests, a manifest's config and layers. */
  setChildren(parent: Digest, children: Digest[]): void
  /** It may be evicted no more (`cached`), or is no longer kept for a push (`pushed`). The row goes when neither holds. */
  drop(digest: Digest, role: 'cached' | 'pushed'): void

  /** Marks a blob and all it needs as used now; written in batches. */
  touch(digest: Digest): void
  /** Writes what `touch` has collected. */
  flush(): void
  /** Fetched blobs that no push keeps, the longest unused first. */
  leastRecentlyUsed(limit: number): BlobRow[]
  /** The next rows in the order of their digests, after that of `last`; from the beginning without it. */
  rowsAfter(last: Digest | undefined, limit: number): BlobRow[]

  cacheTotals(): CacheTotals
  /** Bytes of pushed content, each blob once. */
  pushedBytes(): number

  /** A small durable value by name: counters, stamps. */
  getValue(name: string): string | undefined
  setValue(name: string, value: string): void

  close(): void
}
