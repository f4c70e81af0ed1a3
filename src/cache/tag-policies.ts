import { globMatcher } from '../lib/glob.js'
import type { TagPolicy } from './freshness.js'

/** What holds for the tags that match; what a rule does not say is as for every tag. */
export interface TagRule {
  /** A pattern of the tag (lib/glob.ts). */
  match: string
  /** A pattern of the repository without its registry; every repository when absent. */
  repository?: string | undefined
  immutable: boolean
  ttlMs?: number | undefined
  staleIfErrorMs?: number | undefined
  whenGone?: TagPolicy['whenGone'] | undefined
}

/** How the tags of one registry age. */
export interface TagPolicyOptions extends Omit<TagPolicy, 'immutable'> {
  /** The first that matches counts. */
  rules: readonly TagRule[]
}

/** @returns the policy for one tag, of which nothing but the tag and its repository is looked at */
export function tagPolicies({ rules, ...rest }: TagPolicyOptions): (repository: string, tag: string) => TagPolicy {
  const common: TagPolicy = { ...rest, immutable: false }
  const compiled = rules.map(({ match, repository, immutable, ttlMs, staleIfErrorMs, whenGone }) => ({
    matchesTag: globMatcher([match]),
    matchesRepository: globMatcher(repository === undefined ? [] : [repository]),
    policy: {
      ...common,
      immutable,
      ttlMs: ttlMs ?? common.ttlMs,
      staleIfErrorMs: staleIfErrorMs ?? common.staleIfErrorMs,
      whenGone: whenGone ?? common.whenGone,
    },
  }))
  return (repository, tag) =>
    compiled.find(({ matchesTag, matchesRepository }) => matchesTag(tag) && matchesRepository(repository))?.policy ??
    common
}
