import { LRUCache } from 'lru-cache'
import { SingleFlight } from '../lib/single-flight.js'
import type { Repository } from '../oci/reference.js'
import type { PageRequest, TagPage } from '../routing/content-source.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'

export interface TagListingDeps {
  group: UpstreamGroup
  /** How long a list is served unasked, in milliseconds. */
  ttlMs: number
  budgetMs: number
  now: () => number
}

const LISTS_LIMIT = 200

/** Lists of tags, fetched whole from the upstream and paged here; an old list is served when nobody answers. */
export class TagListing {
  readonly #deps: TagListingDeps
  readonly #lists = new LRUCache<Repository, { tags: string[]; at: number }>({ max: LISTS_LIMIT })
  readonly #asking = new SingleFlight<string[]>()

  constructor(deps: TagListingDeps) {
    this.#deps = deps
  }

  async page(repository: Repository, { n, last }: PageRequest): Promise<TagPage> {
    const tags = await this.#tags(repository)
    const from = last === undefined ? 0 : tags.findIndex((tag) => tag > last)
    const rest = from < 0 ? [] : tags.slice(from)
    const page = rest.slice(0, n ?? rest.length)
    return { tags: page, more: page.length > 0 && page.length < rest.length }
  }

  async #tags(repository: Repository): Promise<string[]> {
    const { ttlMs, now } = this.#deps
    const known = this.#lists.get(repository)
    if (known && now() - known.at < ttlMs && now() >= known.at) return known.tags
    try {
      return await this.#asking.run(repository, () => this.#fetch(repository))
    } catch (error) {
      if (known) return known.tags
      throw error
    }
  }

  async #fetch(repository: Repository): Promise<string[]> {
    const { group, budgetMs, now } = this.#deps
    const tags = [...new Set(await group.listTags(repository, AbortSignal.timeout(budgetMs)))].sort()
    this.#lists.set(repository, { tags, at: now() })
    return tags
  }
}
