import type { Logger } from 'pino'
import { isFresh, isHeld, mayBeStale, type TagPolicy } from '../cache/freshness.js'
import type { CachedManifest, ManifestCache } from '../cache/manifest-cache.js'
import { movedTo, type TagRecord } from '../cache/tag-record.js'
import { SingleFlight } from '../lib/single-flight.js'
import type { Outcome } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { FetchedManifest } from '../upstream/registry-client.js'
import type { Among, UpstreamGroup } from '../upstream/upstream-group.js'
import type { ManifestFetcher } from './manifest-fetcher.js'
import type { NegativeCache } from './negative-cache.js'
import { isAbsence, isAuthoritativeAbsence } from './translate.js'

export interface TagResolverDeps {
  group: UpstreamGroup
  manifests: ManifestCache
  fetcher: ManifestFetcher
  negative: NegativeCache
  policy: TagPolicy
  /** Within it an upstream must have answered when nothing is known of the tag, in milliseconds. */
  budgetMs: number
  /** The same when an old answer is at hand. */
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

interface Question {
  repository: Repository
  tag: Tag
  /** The repository's name on disk. */
  name: string
}

/**
 * Tags of one registry. Origins resolve them; mirrors do while no origin can be reached, and then never move one back
 * to a digest that it had before. Within its TTL a tag costs nothing, after it one HEAD; when nobody answers, the last
 * answer stands, marked as old.
 */
export class TagResolver {
  readonly #deps: TagResolverDeps
  readonly #log: Logger
  readonly #asking = new SingleFlight<CachedManifest>()
  readonly #underWay = new Set<string>()

  constructor(deps: TagResolverDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'tag-resolver', registry: deps.group.registry })
  }

  /** @throws what the upstreams said when nothing is known of the tag */
  async resolve(repository: Repository, tag: Tag): Promise<ResolvedTag> {
    const { manifests, fetcher, group, policy, now } = this.#deps
    const question = { repository, tag, name: fetcher.nameOf(repository) }
    const record = await manifests.tag(question.name, tag)
    if (!record) return this.#resolveUnknown(question)
    if (isFresh(record, now(), policy, group.originReachable())) {
      const { manifest, outcome } = await fetcher.get(repository, record.digest)
      return { manifest, outcome }
    }
    return this.#revalidate(question, record)
  }

  async #resolveUnknown(question: Question): Promise<ResolvedTag> {
    const key = `${question.name}:${question.tag}`
    this.#deps.negative.check(key)
    const outcome = this.#underWay.has(key) ? 'join' : 'miss'
    const manifest = await this.#once(key, async () => {
      try {
        return await this.#ask(question, undefined)
      } catch (error) {
        if (isAuthoritativeAbsence(error)) this.#deps.negative.remember(key, error)
        throw error
      }
    })
    return { manifest, outcome }
  }

  /** Asks again; the old answer is served when that takes too long or fails. What is under way goes on. */
  async #revalidate(question: Question, record: TagRecord): Promise<ResolvedTag> {
    const { revalidationBudgetMs } = this.#deps
    const key = `${question.name}:${question.tag}`
    const asked = this.#once(key, () => this.#ask(question, record))
    asked.catch(() => {})
    try {
      const manifest = await within(asked, revalidationBudgetMs)
      return { manifest, outcome: manifest.digest === record.digest ? 'hit' : 'miss' }
    } catch (error) {
      return this.#serveStale(question, record, error)
    }
  }

  async #serveStale(question: Question, record: TagRecord, error: unknown): Promise<ResolvedTag> {
    const { manifests, policy, now } = this.#deps
    const manifest = await manifests.get(question.name, record.digest)
    if (!manifest || !mayBeStale(record, now(), policy)) throw error
    const { repository, tag } = question
    this.#log.warn(
      { repository, tag, digest: record.digest, reason: (error as Error).message },
      'tag could not be checked, serving the last answer',
    )
    const checked = new Date(record.checkedAt).toISOString()
    const why = isAbsence(error) ? 'no upstream has it any more' : 'no upstream could be asked'
    return { manifest, outcome: 'stale', warning: `111 entrepot "not revalidated: ${why}; last checked ${checked}"` }
  }

  #once(key: string, work: () => Promise<CachedManifest>): Promise<CachedManifest> {
    this.#underWay.add(key)
    return this.#asking.run(key, () => work().finally(() => this.#underWay.delete(key)))
  }

  /** Those whose word counts now, in order: origins; mirrors when no origin can be reached and its last word does not stand. */
  async #ask(question: Question, record: TagRecord | undefined): Promise<CachedManifest> {
    const { group, policy, now } = this.#deps
    // An origin that is known to be out of reach is not dialled while mirrors may answer for it.
    const originFirst = group.originReachable() || !group.hasOrigin
    if (originFirst) {
      try {
        return await this.#askAmong('origins', question, record)
      } catch (error) {
        if (isAbsence(error) || !group.hasOrigin) throw error
        return this.#askMirrors(question, record, error)
      }
    }
    if (record && isHeld(record, now(), policy))
      throw new Error('no origin can be reached, and its last word still stands')
    try {
      return await this.#askAmong('mirrors', question, record)
    } catch {
      return this.#askAmong('origins', question, record)
    }
  }

  async #askMirrors(question: Question, record: TagRecord | undefined, originError: unknown): Promise<CachedManifest> {
    if (record && isHeld(record, this.#deps.now(), this.#deps.policy)) throw originError
    try {
      return await this.#askAmong('mirrors', question, record)
    } catch (error) {
      // What the origin did matters more than that the mirrors have not got it.
      throw isAbsence(error) ? originError : error
    }
  }

  async #askAmong(among: Among, question: Question, record: TagRecord | undefined): Promise<CachedManifest> {
    const { group, budgetMs } = this.#deps
    const { repository, tag } = question
    const signal = AbortSignal.timeout(budgetMs)
    if (!record)
      return this.#accept(
        among,
        question,
        record,
        await group.getManifest(repository, { kind: 'tag', tag }, { among, signal }),
      )
    const head = await group.headManifest(repository, tag, { among, signal })
    if (head.digest === record.digest) return this.#renew(among, question, record, head.upstream)
    if (head.digest !== undefined && among === 'origins')
      return this.#move(question, record, { digest: head.digest, source: head.upstream })
    const not = (_upstream: string, digest: Digest) => among === 'mirrors' && record.earlier.includes(digest)
    return this.#accept(
      among,
      question,
      record,
      await group.getManifest(repository, { kind: 'tag', tag }, { among, not, signal }),
    )
  }

  /** Still the same: the content is here, or is fetched anew by its digest. */
  async #renew(among: Among, question: Question, record: TagRecord, source: string): Promise<CachedManifest> {
    const { manifest } = await this.#deps.fetcher.get(question.repository, record.digest)
    this.#note(question, { ...record, ...this.#word(among, source) })
    return manifest
  }

  /** An origin says that the tag has moved: the content may come from anybody. */
  async #move(
    question: Question,
    record: TagRecord,
    { digest, source }: { digest: Digest; source: string },
  ): Promise<CachedManifest> {
    const { manifest } = await this.#deps.fetcher.get(question.repository, digest)
    this.#note(question, movedTo(digest, this.#word('origins', source), record))
    return manifest
  }

  #accept(among: Among, question: Question, record: TagRecord | undefined, fetched: FetchedManifest): CachedManifest {
    this.#note(question, movedTo(fetched.digest, this.#word(among, fetched.upstream), record))
    return this.#deps.fetcher.keep(question.repository, fetched)
  }

  #word(among: Among, source: string): Pick<TagRecord, 'checkedAt' | 'resolvedBy' | 'source'> {
    return { checkedAt: this.#deps.now(), resolvedBy: among === 'mirrors' ? 'mirror' : 'origin', source }
  }

  #note({ name, tag }: Question, record: TagRecord): void {
    this.#deps.manifests.putTag(name, tag, record)
  }
}

/** @throws when `work` has not ended after `ms`; it goes on */
async function within<Value>(work: Promise<Value>, ms: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
