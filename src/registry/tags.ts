import { byCodeUnits, firstAfter } from '../lib/sorted.js'
import type { Digest } from '../oci/digest.js'
import type { Tag } from '../oci/reference.js'
import type { PageRequest, TagPage } from '../routing/content-source.js'
import type { RepositoryLinks } from './repository-links.js'

/** One page of `tags`, which are in order: what follows `last`, at most `n` (end-8b). */
export function pageOf(tags: readonly Tag[], { n, last }: PageRequest): TagPage {
  const start = last === undefined ? 0 : firstAfter(tags, last as Tag, tagOrder)
  const page = tags.slice(start, n === undefined ? undefined : start + n)
  return { tags: page, more: start + page.length < tags.length }
}

/** Every tag of a repository with what it names. */
export async function digestsByTag(links: RepositoryLinks): Promise<Map<Tag, Digest>> {
  const digests = new Map<Tag, Digest>()
  for (const tag of await links.tags()) {
    const digest = (await links.tag(tag))?.digest
    if (digest) digests.set(tag, digest)
  }
  return digests
}

/** The specification's order of tags, case-insensitive alphanumeric; what differs in case alone still has an order. */
export function tagOrder(a: string, b: string): number {
  return byCodeUnits(a.toLowerCase(), b.toLowerCase()) || byCodeUnits(a, b)
}
