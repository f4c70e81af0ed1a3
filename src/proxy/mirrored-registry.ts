import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { BlobCache } from '../cache/blob-cache.js'
import type { ManifestCache } from '../cache/manifest-cache.js'
import { type TagPolicyOptions, tagPolicies } from '../cache/tag-policies.js'
import type { EventBus } from '../events.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { ContentSource } from '../routing/content-source.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import { HotTags } from './hot-tags.js'
import { ManifestFetcher } from './manifest-fetcher.js'
import { NegativeCache } from './negative-cache.js'
import { OwnBlobs } from './own-blobs.js'
import { PlatformsInUse } from './platforms-in-use.js'
import { Prefetch } from './prefetch.js'
import type { PrefetchQueue } from './prefetch-queue.js'
import { PullThrough } from './pull-through.js'
import { TagAsker } from './tag-asker.js'
import { TagListing } from './tag-listing.js'
import { TagResolver } from './tag-resolver.js'

export interface MirroredRegistryDeps {
  group: UpstreamGroup
  blobs: BlobCache
  manifests: ManifestCache
  policy: RegistryPolicy
  /** Larger blobs are not fetched ahead. */
  maxAheadBytes: () => number
  /** Whether anything that is read through is not for everybody: own-blobs.ts. */
  isRestricted: () => boolean
  /** Shared by all registries. */
  queue: PrefetchQueue
  events: EventBus
  log: Logger
  now: () => number
  /** From 0 to 1. */
  random: () => number
}

/** How a registry's answers age, and how long clients wait for them. */
export interface RegistryPolicy {
  tags: TagPolicyOptions
  negativeTtlMs: number
  firstHeaderBudgetMs: number
  revalidationBudgetMs: number
  prefetch: PrefetchPolicy
}

/** What is fetched and asked before a client does. */
export interface PrefetchPolicy {
  /** What a manifest that a client fetches leads to. */
  blobs: boolean
  /** Tags that are asked for often, and what they have moved to. */
  hotTags: boolean
  /** A tag is hot that was asked for so often within a day. */
  hotAfter: number
  checksPerMinute: number
}

const REPOSITORIES_LIMIT = 1_000

/** One upstream registry read through the cache: what its repositories share. */
export class MirroredRegistry {
  readonly #parts
  readonly #prefetch: Prefetch
  /** Those asked for lately: making one anew costs more than most answers. */
  readonly #repositories = new LRUCache<Repository, ContentSource>({ max: REPOSITORIES_LIMIT })

  constructor(deps: MirroredRegistryDeps) {
    const { group, policy, blobs, manifests, queue, log, now } = deps
    const budgetMs = policy.firstHeaderBudgetMs
    const negative = new NegativeCache({ ttlMs: policy.negativeTtlMs, now })
    const fetcher = new ManifestFetcher({ group, manifests, negative, budgetMs })
    const resolver = new TagResolver({
      group,
      manifests,
      fetcher,
      negative,
      asker: new TagAsker({ group, manifests, fetcher, budgetMs, events: deps.events, log, now }),
      policyOf: tagPolicies(policy.tags),
      revalidationBudgetMs: policy.revalidationBudgetMs,
      log,
      now,
    })
    const listing = new TagListing({ group, ttlMs: policy.tags.ttlMs, budgetMs, now })
    this.#prefetch = new Prefetch({
      group,
      blobs,
      manifests,
      fetcher,
      platforms: new PlatformsInUse({ now }),
      queue,
      onPull: policy.prefetch.blobs,
      maxBlobBytes: deps.maxAheadBytes,
      log,
      now,
    })
    const hotTags = policy.prefetch.hotTags ? this.#hotTags(deps, resolver) : undefined
    const own = new OwnBlobs({ group, blobs, fetcher, isRestricted: deps.isRestricted })
    this.#parts = { group, blobs, own, fetcher, resolver, listing, negative, hotTags, budgetMs }
  }

  repository(repository: Repository): ContentSource {
    const known = this.#repositories.get(repository)
    if (known) return known
    const source = new PullThrough({ ...this.#parts, repository })
    this.#repositories.set(repository, source)
    return source
  }

  /** A client was given a manifest to its end. */
  served(repository: Repository, digest: Digest): void {
    this.#prefetch.served(repository, digest)
  }

  /** Begins the checks of hot tags that are due. */
  async recheckHotTags(): Promise<void> {
    await this.#parts.hotTags?.recheck()
  }

  #hotTags({ group, policy, log, now, random }: MirroredRegistryDeps, resolver: TagResolver): HotTags {
    return new HotTags({
      ...policy.prefetch,
      freshness: (repository, tag) => resolver.freshness(repository, tag),
      check: async (repository: Repository, tag: Tag) => {
        const moved = await resolver.recheck(repository, tag)
        if (moved) this.#prefetch.follow(repository, moved)
        await resolver.compare(repository, tag)
      },
      originReachable: () => group.originReachable(),
      log: log.child({ registry: group.registry }),
      now,
      random,
    })
  }
}
