import { globMatcher } from '../lib/glob.js'
import { printDuration } from '../lib/units.js'
import type { Tag } from '../oci/reference.js'
import { isAttachedTag } from '../oci/referrers.js'

/** What is kept of the repositories that match; what it does not limit stays. Durations in milliseconds. */
export interface RetentionRule {
  /** `**` crosses components, `*` does not. */
  repositories: string
  /** So many of the newest tags stay, those that match `keepTags`, and those of signatures, not counted. */
  keepLast?: number
  /** Patterns of tags that stay in any case. */
  keepTags: readonly string[]
  /** What was tagged since then stays. */
  olderThanMs?: number
  /** For so long a manifest stays that has no tag and that no index names. Absent: for ever. */
  untaggedMs?: number
}

export interface TagAge {
  tag: Tag
  /** ms since the epoch */
  taggedAt: number
}

/** @returns the rule for a repository: of those that match the one with the longest beginning without a `*`, then the first */
export function retentionFor(rules: readonly RetentionRule[]): (repository: string) => RetentionRule | undefined {
  const compiled = rules.map((rule) => ({ rule, matches: globMatcher([rule.repositories]) }))
  // Sorting keeps the order of equals.
  compiled.sort((one, other) => literal(other.rule) - literal(one.rule))
  return (repository) => compiled.find(({ matches }) => matches(repository))?.rule
}

/**
 * The tags that go by `rule` at `now`, each with the reason for a person. A rule that limits neither number nor age takes
 * none, and none takes those of signatures and the like, `sha256-<hex>.sig`: they go with what they are attached to.
 */
export function expiredTags(
  tags: readonly TagAge[],
  { keepLast, keepTags, olderThanMs }: RetentionRule,
  now: number,
): Map<Tag, string> {
  if (keepLast === undefined && olderThanMs === undefined) return new Map()
  const isKept = keepTags.length === 0 ? () => false : globMatcher(keepTags)
  const newestFirst = tags
    .filter(({ tag }) => !isKept(tag) && !isAttachedTag(tag))
    .sort((one, other) => other.taggedAt - one.taggedAt || (one.tag < other.tag ? 1 : -1))
  const expired = newestFirst
    .slice(keepLast ?? 0)
    .filter(({ taggedAt }) => olderThanMs === undefined || taggedAt < now - olderThanMs)
  return new Map(expired.map(({ tag }) => [tag, reason(keepLast, olderThanMs)]))
}

function reason(keepLast: number | undefined, olderThanMs: number | undefined): string {
  return [
    ...(keepLast === undefined ? [] : [`not among the newest ${keepLast}`]),
    ...(olderThanMs === undefined ? [] : [`older than ${printDuration(olderThanMs)}`]),
  ].join(' and ')
}

function literal({ repositories }: RetentionRule): number {
  const star = repositories.indexOf('*')
  // A name without a star is the most specific there can be.
  return star < 0 ? Number.POSITIVE_INFINITY : star
}
