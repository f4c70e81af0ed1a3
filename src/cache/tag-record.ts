import { type Digest, isDigest } from '../oci/digest.js'

/** What a tag was last seen to be. */
export interface TagRecord {
  digest: Digest
  /** When somebody who may resolve it last said so, in ms since the epoch. */
  checkedAt: number
  /** Whose word it is: an origin's, or a mirror's while no origin could be reached. */
  resolvedBy: 'origin' | 'mirror'
  /** The upstream by name. */
  source: string
  /** Digests that it had before, the latest last: no mirror moves it back to one of them. */
  earlier: Digest[]
}

const EARLIER_LIMIT = 32

/** The record after somebody said `digest`. */
export function movedTo(
  digest: Digest,
  by: Pick<TagRecord, 'checkedAt' | 'resolvedBy' | 'source'>,
  before: TagRecord | undefined,
): TagRecord {
  const earlier = [...(before?.earlier ?? []), ...(before ? [before.digest] : [])].filter((known) => known !== digest)
  return { digest, ...by, earlier: [...new Set(earlier)].slice(-EARLIER_LIMIT) }
}

/** @returns `undefined` for what is no record: the tag is resolved anew */
export function parseTagRecord(bytes: Uint8Array): TagRecord | undefined {
  let json: Partial<TagRecord> | null
  try {
    json = JSON.parse(Buffer.from(bytes).toString()) as Partial<TagRecord> | null
  } catch {
    return undefined
  }
  if (typeof json?.digest !== 'string' || !isDigest(json.digest)) return undefined
  const { digest, checkedAt, resolvedBy, source, earlier } = json
  if (typeof checkedAt !== 'number' || typeof source !== 'string' || !Array.isArray(earlier)) return undefined
  if (resolvedBy !== 'origin' && resolvedBy !== 'mirror') return undefined
  return {
    digest,
    checkedAt,
    resolvedBy,
    source,
    earlier: earlier.filter((entry) => typeof entry === 'string' && isDigest(entry)),
  }
}
