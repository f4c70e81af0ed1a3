import type { Tag } from '../oci/reference.js'
import type { PageRequest, TagPage } from '../routing/content-source.js'

/** One page of `tags`: what follows `last`, at most `n` (end-8b). */
export function pageOf(tags: Tag[], { n, last }: PageRequest): TagPage {
  const following = [...tags].sort(lexically).filter((tag) => last === undefined || lexically(tag, last) > 0)
  const page = following.slice(0, n)
  return { tags: page, more: page.length < following.length }
}

/** The specification's order of tags, case-insensitive alphanumeric; what differs in case alone still has an order. */
function lexically(a: string, b: string): number {
  return compare(a.toLowerCase(), b.toLowerCase()) || compare(a, b)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
