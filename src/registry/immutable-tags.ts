import { globMatcher } from '../lib/glob.js'
import type { Repository, Tag } from '../oci/reference.js'

/** Tags that stay what they are, by patterns: `**` in a repository crosses components, `*` does not. */
export interface ImmutableTags {
  repositories: string
  tags: readonly string[]
}

/** @returns whether a tag, once it is there, is neither moved nor deleted by request */
export function immutableTags(rules: readonly ImmutableTags[]): (repository: Repository, tag: Tag) => boolean {
  const compiled = rules.map((rule) => ({ repository: globMatcher([rule.repositories]), tag: globMatcher(rule.tags) }))
  return (repository, tag) => compiled.some((rule) => rule.repository(repository) && rule.tag(tag))
}
