import type { EventBus } from '../events.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import type { DigestSet } from './digest-set.js'
import type { Pace } from './pace.js'
import type { Finding } from './report.js'

/** Whoever else changes the links of repositories. */
export interface RepositoryChanges {
  /** Runs work that takes a repository's links away while nothing else changes them; it tells each tag that has gone. */
  alone<Result>(repository: Repository, work: (untagged: (tag: Tag) => void) => Promise<Result>): Promise<Result>
  /** Runs short work that changes nothing while nothing else changes its manifests and tags. */
  still<Result>(repository: Repository, work: () => Promise<Result>): Promise<Result>
  /** Whether somebody uploads a blob to it, or did so after `since`, in ms since the epoch, and has not finished. */
  isUploading(repository: Repository, since: number): boolean
}

/** One run: what its steps share. */
export interface Collection {
  driver: StorageDriver
  store: BlobStore
  index: MetadataIndex
  events: EventBus
  /** By the names on disk, as everything in a run is. */
  changes: {
    alone<Result>(name: string, work: (untagged: (tag: Tag) => void) => Promise<Result>): Promise<Result>
    still<Result>(name: string, work: () => Promise<Result>): Promise<Result>
    isUploading(name: string, since: number): boolean
  }
  pace: Pace
  /** When the run began, in ms since the epoch. */
  startedAt: number
  /**
   * What was used or written after this stays, in ms since the epoch. It is before the run's beginning: whatever becomes
   * needed while the run goes on is used first, and so out of its reach, though the clock be set back (`BlobStore.noteUses`).
   */
  cutoff: number
  dryRun: boolean
  /** What some repository links to; filled as the repositories are gone through. */
  live: DigestSet
  /** Whether a blob had no file when the run began. */
  isLost: (digest: Digest) => boolean
  /** To be told of each thing that went, or would go. */
  found: (finding: Finding) => Promise<void>
  /** To be told of each repository that could not be gone through. */
  failed: (repository: string, error: unknown) => void
  /** To be told of each tag, and each needed manifest, that cannot be read. */
  damaged: (repository: string, what: { digest: Digest } | { tag: Tag }) => void
}

/**
 * When something was last written or used: of its link file and its row.
 *
 * @returns `undefined` when the link is gone
 */
export async function lastUse(
  { driver, index }: Pick<Collection, 'driver' | 'index'>,
  key: string,
  digest: Digest,
): Promise<number | undefined> {
  const link = await driver.stat(key)
  return link && Math.max(link.modifiedAt, index.find(digest)?.usedAt ?? 0)
}
