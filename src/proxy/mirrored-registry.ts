import type { Logger } from 'pino'
import type { BlobCache } from '../cache/blob-cache.js'
import type { TagPolicy } from '../cache/freshness.js'
import type { ManifestCache } from '../cache/manifest-cache.js'
import type { Repository } from '../oci/reference.js'
import type { ContentSource } from '../routing/content-source.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import { ManifestFetcher } from './manifest-fetcher.js'
import { NegativeCache } from './negative-cache.js'
import { PullThrough } from './pull-through.js'
import { TagListing } from './tag-listing.js'
import { TagResolver } from './tag-resolver.js'

export interface MirroredRegistryDeps {
  group: UpstreamGroup
  blobs: BlobCache
  manifests: ManifestCache
  tags: TagPolicy
  negativeTtlMs: number
  firstHeaderBudgetMs: number
  revalidationBudgetMs: number
  log: Logger
  now: () => number
}

/** One upstream registry read through the cache: what its repositories share. */
export class MirroredRegistry {
  readonly #parts

  constructor(deps: MirroredRegistryDeps) {
    const { group, blobs, manifests, log, now } = deps
    const budgetMs = deps.firstHeaderBudgetMs
    const negative = new NegativeCache({ ttlMs: deps.negativeTtlMs, now })
    const fetcher = new ManifestFetcher({ group, manifests, negative, budgetMs })
    const resolver = new TagResolver({
      group,
      manifests,
      fetcher,
      negative,
      policy: deps.tags,
      budgetMs,
      revalidationBudgetMs: deps.revalidationBudgetMs,
      log,
      now,
    })
    const listing = new TagListing({ group, ttlMs: deps.tags.ttlMs, budgetMs, now })
    this.#parts = { group, blobs, fetcher, resolver, listing, negative, budgetMs }
  }

  repository(repository: Repository): ContentSource {
    return new PullThrough({ ...this.#parts, repository })
  }
}
