import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import { isHeld, type TagPolicy } from '../cache/freshness.js'
import type { CachedManifest, ManifestCache } from '../cache/manifest-cache.js'
import { movedTo, type TagRecord } from '../cache/tag-record.js'
import type { EventBus } from '../events.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import { ranked, type Word } from '../upstream/agreement.js'
import { AllUpstreamsFailedError } from '../upstream/errors.js'
import type { FetchedManifest } from '../upstream/registry-client.js'
import type { Among, UpstreamGroup } from '../upstream/upstream-group.js'
import type { ManifestFetcher } from './manifest-fetcher.js'
import { isAbsence } from './translate.js'

export interface TagAskerDeps {
  group: UpstreamGroup
  manifests: ManifestCache
  fetcher: ManifestFetcher
  /** Within it an upstream must have answered, in milliseconds. */
  budgetMs: number
  events: EventBus
  log: Logger
  now: () => number
}

/** One tag that is asked for. */
export interface TagQuestion {
  repository: Repository
  tag: Tag
  /** The repository's name on disk. */
  name: string
  policy: TagPolicy
}

/** Tags whose mirrors were found to differ, so that each difference is told once. */
const DIFFERENCES_LIMIT = 10_000

/**
 * Finds out what a tag is now, and records it. Origins say; mirrors do while no origin can be reached, together where
 * there are several, and then never move a tag back to a digest that it had before.
 */
export class TagAsker {
  readonly #deps: TagAskerDeps
  readonly #log: Logger
  readonly #told = new LRUCache<string, string>({ max: DIFFERENCES_LIMIT })

  constructor(deps: TagAskerDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'tag-asker', registry: deps.group.registry })
  }

  /**
   * Those whose word counts now, in order: origins; mirrors when no origin can be reached and its last word does not stand.
   *
   * @param record what was known of the tag
   * @throws what the upstreams said
   */
  async ask(question: TagQuestion, record: TagRecord | undefined): Promise<CachedManifest> {
    const { group } = this.#deps
    // An origin that is known to be out of reach is not dialled while mirrors may answer for it.
    const originFirst = group.originReachable() || !group.hasOrigin
    if (originFirst) {
      try {
        return await this.#askOrigins(question, record)
      } catch (error) {
        if (isAbsence(error) || !group.hasOrigin) throw error
        return this.#askMirrorsInstead(question, record, error)
      }
    }
    if (record && this.#stands(question, record))
      throw new Error('no origin can be reached, and its last word still stands')
    try {
      return await this.#askMirrors(question, record)
    } catch {
      return this.#askOrigins(question, record)
    }
  }

  /**
   * Hears the others whose word counts as much as the one that is recorded, one HEAD each, and tells of it where they
   * differ. Off the request path: what was recorded stands.
   *
   * @throws when time is up
   */
  async compare(question: TagQuestion): Promise<void> {
    const { group, manifests, budgetMs } = this.#deps
    const { repository, tag, name } = question
    const record = await manifests.tag(name, tag)
    if (record?.resolvedBy !== 'origin') return
    const { digest, source } = record
    const others = await group.wordsBeside(source, repository, tag, AbortSignal.timeout(budgetMs))
    this.#tell(question, [{ digest, upstream: source }, ...others], digest)
  }

  async #askMirrorsInstead(
    question: TagQuestion,
    record: TagRecord | undefined,
    originError: unknown,
  ): Promise<CachedManifest> {
    if (record && this.#stands(question, record)) throw originError
    try {
      return await this.#askMirrors(question, record)
    } catch (error) {
      // What the origin did matters more than that the mirrors have not got it.
      throw isAbsence(error) ? originError : error
    }
  }

  #stands({ policy }: TagQuestion, record: TagRecord): boolean {
    return isHeld(record, this.#deps.now(), policy)
  }

  async #askOrigins(question: TagQuestion, record: TagRecord | undefined): Promise<CachedManifest> {
    const { group } = this.#deps
    const { repository, tag } = question
    const asking = this.#asking('origins')
    // A HEAD is no pull: where few are left, others may give the manifest that it names.
    if (!record && !group.quotaLow) return this.#get('origins', question, record, asking.signal)
    const { digest, upstream: source } = await group.headManifest(repository, tag, asking)
    if (digest === undefined) return this.#get('origins', question, record, asking.signal)
    return this.#take('origins', question, record, { digest, upstream: source })
  }

  async #askMirrors(question: TagQuestion, record: TagRecord | undefined): Promise<CachedManifest> {
    const { group } = this.#deps
    const { repository, tag } = question
    const asking = this.#asking('mirrors')
    const words = await group.wordsOn(repository, tag, asking.signal)
    const agreed = await this.#firstOf(question, record, words)
    if (agreed) return agreed
    if (record) {
      const head = await group.headManifest(repository, tag, asking)
      if (head.digest === record.digest)
        return this.#take('mirrors', question, record, { digest: head.digest, upstream: head.upstream })
    }
    return this.#get('mirrors', question, record, asking.signal)
  }

  /** What most mirrors agree on, if it can be had; never a digest that was given up. */
  async #firstOf(
    question: TagQuestion,
    record: TagRecord | undefined,
    words: readonly Word[],
  ): Promise<CachedManifest | undefined> {
    const acceptable = ranked(words).filter((digest) => !record?.earlier.includes(digest))
    for (const digest of acceptable) {
      const word = words.find((each) => each.digest === digest)!
      try {
        const manifest = await this.#take('mirrors', question, record, word)
        this.#tell(question, words, digest)
        return manifest
      } catch (error) {
        // A digest with nothing behind it is no answer: the next best is.
        if (!(error instanceof AllUpstreamsFailedError)) throw error
      }
    }
    return undefined
  }

  /** Believes a word; the content is here, or comes from anybody by its digest. */
  async #take(
    among: Among,
    question: TagQuestion,
    record: TagRecord | undefined,
    { digest, upstream }: Word,
  ): Promise<CachedManifest> {
    const { manifest } = await this.#deps.fetcher.get(question.repository, digest)
    this.#note(among, question, record, { digest, upstream })
    return manifest
  }

  async #get(
    among: Among,
    question: TagQuestion,
    record: TagRecord | undefined,
    signal: AbortSignal,
  ): Promise<CachedManifest> {
    const { group, fetcher } = this.#deps
    const { repository, tag } = question
    const not = (_upstream: string, digest: Digest) =>
      among === 'mirrors' && (record?.earlier.includes(digest) ?? false)
    const fetched: FetchedManifest = await group.getManifest(repository, { kind: 'tag', tag }, { among, not, signal })
    this.#note(among, question, record, fetched)
    return fetcher.keep(repository, fetched)
  }

  #note(among: Among, question: TagQuestion, record: TagRecord | undefined, { digest, upstream: source }: Word): void {
    const { manifests, now } = this.#deps
    const word = { checkedAt: now(), resolvedBy: among === 'mirrors' ? 'mirror' : 'origin', source } as const
    const next = record?.digest === digest ? { ...record, ...word } : movedTo(digest, word, record)
    manifests.putTag(question.name, question.tag, next)
    if (record && among !== 'mirrors') this.#weigh(question, record, { digest, upstream: source })
  }

  /** A mirror's word that is not confirmed differs; that of another origin may be older than the tag's last move. */
  #weigh(question: TagQuestion, { resolvedBy, digest, source: upstream }: TagRecord, word: Word): void {
    if (resolvedBy === 'mirror') this.#tell(question, [word, { digest, upstream }], word.digest)
    else if (digest !== word.digest && upstream !== word.upstream) this.#compareAside(question)
  }

  #compareAside(question: TagQuestion): void {
    const { repository, tag } = question
    void this.compare(question).catch((error: unknown) =>
      this.#log.debug({ repository, tag, reason: (error as Error).message }, 'other origins were not heard'),
    )
  }

  /** Tells of words that differ, each set of digests once in a row. */
  #tell({ repository, tag, name }: TagQuestion, words: readonly Word[], digest: Digest): void {
    const key = `${name}:${tag}`
    const digests = [...new Set(words.map((word) => word.digest))]
    const difference = [...digests].sort().join(' ')
    if (digests.length < 2 || this.#told.get(key) === difference) return
    this.#told.set(key, difference)
    this.#log.warn({ repository, tag, digest, words }, 'upstreams differ on what a tag is')
    this.#deps.events.emit('tag.diverged', { registry: this.#deps.group.registry, repository, tag, digest, words })
  }

  #asking(among: Among): { among: Among; signal: AbortSignal } {
    return { among, signal: AbortSignal.timeout(this.#deps.budgetMs) }
  }
}
