import type { Logger } from 'pino'
import { isFresh, isServedMeanwhile, mayBeStale, type TagPolicy } from '../cache/freshness.js'
import type { CachedManifest, ManifestCache } from '../cache/manifest-cache.js'
import type { TagRecord } from '../cache/tag-record.js'
import { SingleFlight } from '../lib/single-flight.js'
import type { Outcome } from '../oci/content.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import type { Freshness } from './hot-tags.js'
import type { ManifestFetcher } from './manifest-fetcher.js'
import type { NegativeCache } from './negative-cache.js'
import type { TagAsker, TagQuestion } from './tag-asker.js'
import { isAbsence, isAuthoritativeAbsence, isOriginsNo } from './translate.js'

export interface TagResolverDeps {
  group: UpstreamGroup
  manifests: ManifestCache
  fetcher: ManifestFetcher
  negative: NegativeCache
  asker: TagAsker
  policyOf: (repository: Repository, tag: Tag) => TagPolicy
  /** So long a client waits for news of a tag when an old answer is at hand, in milliseconds. */
  revalidationBudgetMs: number
  log: Logger
  now: () => number
}

export interface ResolvedTag {
  manifest: CachedManifest
  outcome: Outcome
  /** Why the answer may be old. */
  warning?: string
}

/** So long, once an upstream has let a client wait in vain and has not answered since. */
const LATE_BUDGET_MS = 100
/** While few pulls are left of a quota, tags are asked for so much more rarely. */
const SPARING = 4

/**
 * Tags of one registry, resolved as seldom as their policies allow: within its TTL a tag costs nothing, after it one
 * HEAD; when nobody answers, the last answer stands, marked as old.
 */
export class TagResolver {
  readonly #deps: TagResolverDeps
  readonly #log: Logger
  readonly #asking = new SingleFlight<CachedManifest>()
  readonly #underWay = new Set<string>()
  /** Whether news were waited for in vain, and none have come since. */
  #late = false

  constructor(deps: TagResolverDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'tag-resolver', registry: deps.group.registry })
  }

  /**
   * @param refresh whether to ask whatever is known, that it does not exist included
   * @throws what the upstreams said when nothing is known of the tag
   */
  async resolve(repository: Repository, tag: Tag, refresh: boolean): Promise<ResolvedTag> {
    const { manifests, fetcher, group, negative, now } = this.#deps
    const question = this.#question(repository, tag)
    if (refresh) negative.forget(keyOf(question))
    const record = await manifests.tag(question.name, tag)
    if (!record) return this.#resolveUnknown(question)
    if (refresh) return this.#awaitNews(question, record)
    if (isFresh(record, now(), question.policy, group.originReachable())) {
      const { manifest, outcome } = await fetcher.get(repository, record.digest)
      return { manifest, outcome }
    }
    return (await this.#servedMeanwhile(question, record)) ?? this.#awaitNews(question, record)
  }

  /** What it is, where that is in memory and stands: nobody is asked and nothing is read. */
  inMemory(repository: Repository, tag: Tag): CachedManifest | undefined {
    const { manifests, fetcher, group, now } = this.#deps
    const question = this.#question(repository, tag)
    const record = manifests.tagInMemory(question.name, tag)
    if (!record || !isFresh(record, now(), question.policy, group.originReachable())) return undefined
    return fetcher.inMemory(repository, record.digest)
  }

  /** How long a known tag is served unasked; `undefined` for one that is not known. */
  async freshness(repository: Repository, tag: Tag): Promise<Freshness | undefined> {
    const { name, policy } = this.#question(repository, tag)
    const record = await this.#deps.manifests.tag(name, tag)
    const ttlMs = policy.immutable ? Number.POSITIVE_INFINITY : policy.ttlMs
    return record && { checkedAt: record.checkedAt, freshUntil: record.checkedAt + ttlMs }
  }

  /**
   * Asks for a known tag as if its answer had become old; a client that comes meanwhile joins.
   *
   * @returns the manifest when the tag has moved
   * @throws what the upstreams said; the last answer stands
   */
  async recheck(repository: Repository, tag: Tag): Promise<CachedManifest | undefined> {
    const question = this.#question(repository, tag)
    const record = await this.#deps.manifests.tag(question.name, tag)
    if (!record) return undefined
    const manifest = await this.#ask(question, record)
    return manifest.digest === record.digest ? undefined : manifest
  }

  /** Hears what others say of a tag who may resolve it as well; where they differ, that is told. @throws when time is up */
  compare(repository: Repository, tag: Tag): Promise<void> {
    return this.#deps.asker.compare(this.#question(repository, tag))
  }

  #question(repository: Repository, tag: Tag): TagQuestion {
    const { fetcher, group, policyOf } = this.#deps
    const policy = policyOf(repository, tag)
    const sparing = group.quotaLow ? { ...policy, ttlMs: policy.ttlMs * SPARING } : policy
    return { repository, tag, name: fetcher.nameOf(repository), policy: sparing }
  }

  async #resolveUnknown(question: TagQuestion): Promise<ResolvedTag> {
    const key = keyOf(question)
    this.#deps.negative.check(key)
    const outcome = this.#underWay.has(key) ? 'join' : 'miss'
    return { manifest: await this.#ask(question, undefined), outcome }
  }

  /** The last answer at once, where the policy has it so; what is asked for meanwhile goes on. */
  async #servedMeanwhile(question: TagQuestion, record: TagRecord): Promise<ResolvedTag | undefined> {
    const { fetcher, now } = this.#deps
    if (!isServedMeanwhile(record, now(), question.policy)) return undefined
    this.#ask(question, record).catch(() => {})
    const manifest = await fetcher.cached(question.repository, record.digest)
    return manifest && { manifest, outcome: 'stale', warning: `110 entrepot "being checked; ${lastChecked(record)}"` }
  }

  /** Asks again; the old answer is served when that takes too long or fails. What is under way goes on. */
  async #awaitNews(question: TagQuestion, record: TagRecord): Promise<ResolvedTag> {
    const asked = this.#ask(question, record)
    asked.catch(() => {})
    const { revalidationBudgetMs } = this.#deps
    const budgetMs = this.#late ? Math.min(LATE_BUDGET_MS, revalidationBudgetMs) : revalidationBudgetMs
    try {
      return newsOn(record, await within(asked, budgetMs))
    } catch (error) {
      this.#late ||= error instanceof LateError
      // With nothing old to serve, what is under way or has failed is all there is.
      return (await this.#stale(question, record, error)) ?? newsOn(record, await asked)
    }
  }

  /** The last answer, from whoever has it if it is not here any more: the digest says what it is. */
  async #stale(question: TagQuestion, record: TagRecord, error: unknown): Promise<ResolvedTag | undefined> {
    const { fetcher, now } = this.#deps
    const { repository, tag, policy } = question
    if (isGone(question, error) || !mayBeStale(record, now(), policy)) return undefined
    const found = await fetcher.get(repository, record.digest).catch(() => undefined)
    if (!found) return undefined
    const { manifest } = found
    this.#log.warn(
      { repository, tag, digest: record.digest, reason: (error as Error).message },
      'tag could not be checked, serving the last answer',
    )
    const why = isAbsence(error) ? 'no upstream has it any more' : 'no upstream could be asked'
    return { manifest, outcome: 'stale', warning: `111 entrepot "not revalidated: ${why}; ${lastChecked(record)}"` }
  }

  /** Once for all who ask at a time; that an origin has it no more is remembered. */
  #ask(question: TagQuestion, record: TagRecord | undefined): Promise<CachedManifest> {
    const { asker, manifests, negative } = this.#deps
    const key = keyOf(question)
    this.#underWay.add(key)
    return this.#asking.run(key, async () => {
      try {
        const manifest = await asker.ask(question, record)
        this.#late = false
        return manifest
      } catch (error) {
        const gone = record !== undefined && isGone(question, error)
        if (gone) manifests.dropTag(question.name, question.tag)
        if (gone || (!record && isAuthoritativeAbsence(error))) negative.remember(key, error)
        throw error
      } finally {
        this.#underWay.delete(key)
      }
    })
  }
}

function newsOn(record: TagRecord, manifest: CachedManifest): ResolvedTag {
  return { manifest, outcome: manifest.digest === record.digest ? 'hit' : 'miss' }
}

const keyOf = ({ name, tag }: TagQuestion) => `${name}:${tag}`

/** Whether a known tag is to be given up: an origin has it no more, and its policy is not to serve it on. */
function isGone({ policy }: TagQuestion, error: unknown): boolean {
  return policy.whenGone === 'forget' && isOriginsNo(error)
}

function lastChecked({ checkedAt }: TagRecord): string {
  return `last checked ${new Date(checkedAt).toISOString()}`
}

class LateError extends Error {
  override readonly name = 'LateError'
}

/** @throws {LateError} when `work` has not ended after `ms`; it goes on */
async function within<Value>(work: Promise<Value>, ms: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new LateError(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
