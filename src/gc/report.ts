import type { Digest } from '../oci/digest.js'
import type { Tag } from '../oci/reference.js'

/** One thing that a run takes away, or would take, and why. `bytes` of a manifest or blob is what its repository loses. */
export type Finding =
  | { kind: 'tag'; repository: string; tag: Tag; digest: Digest; why: string }
  | { kind: 'manifest'; repository: string; digest: Digest; bytes: number; why: string }
  /** A blob's link: its bytes go only when no other repository has one. */
  | { kind: 'blob'; repository: string; digest: Digest; bytes: number; why: string }
  /** An entry among the referrers of `subject`. */
  | { kind: 'referrer'; repository: string; digest: Digest; subject: Digest; why: string }
  /** A file of the store; `bytes` is what the disk gains. */
  | { kind: 'content'; digest: Digest; bytes: number; why: string }
  /** What the index says of a file that is not there. */
  | { kind: 'row'; digest: Digest; why: string }

/** How a run ended. Times in ms since the epoch, durations in ms. */
export interface GcReport {
  dryRun: boolean
  startedAt: number
  durationMs: number
  /** In their order, each with how long it took. */
  steps: { name: string; durationMs: number }[]
  /** What was taken away, or would be, by kind. */
  found: Record<Finding['kind'], number>
  /** What the disk has gained, or would. */
  freedBytes: number
  /** Tags, and manifests that something needs, that cannot be read: all manifests and blobs of their repository were left alone. */
  damaged: number
  /** Repositories that could not be gone through to the end, by a fault of the disk for example: what they link to was kept. */
  failed: number
  /** Why it ended early. What was left is taken by the next run. */
  failure?: string
}

export function noFindings(): GcReport['found'] {
  return { tag: 0, manifest: 0, blob: 0, referrer: 0, content: 0, row: 0 }
}
