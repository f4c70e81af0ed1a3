import type { BlobCache } from '../cache/blob-cache.js'
import { abortable, delay } from '../lib/abortable.js'
import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { Reference, Repository } from '../oci/reference.js'
import { printReference } from '../oci/reference.js'
import { ofType } from '../oci/referrers.js'
import type { ContentSource, PageRequest, ReferrersAnswer, TagPage } from '../routing/content-source.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import type { HotTags } from './hot-tags.js'
import type { ManifestFetcher } from './manifest-fetcher.js'
import type { NegativeCache } from './negative-cache.js'
import type { OwnBlobs } from './own-blobs.js'
import type { TagListing } from './tag-listing.js'
import type { TagResolver } from './tag-resolver.js'
import { isAuthoritativeAbsence, type Missing, toOciError, waitOf } from './translate.js'

export interface PullThroughDeps {
  repository: Repository
  group: UpstreamGroup
  blobs: BlobCache
  own: OwnBlobs
  fetcher: ManifestFetcher
  resolver: TagResolver
  listing: TagListing
  negative: NegativeCache
  /** Told of every tag that a client asks for. */
  hotTags: HotTags | undefined
  /** Within it a client has a head or an error, in milliseconds; what was begun for it goes on. */
  budgetMs: number
}

/** Before those who asked to wait no time are asked again. */
const LEAST_PAUSE_MS = 250

/** One repository of an upstream registry, read through the cache. The one place where upstreams' failures become the client's. */
export class PullThrough implements ContentSource {
  readonly #deps: PullThroughDeps

  constructor(deps: PullThroughDeps) {
    this.#deps = deps
  }

  async openBlob(digest: Digest, from?: number): Promise<OpenBlob> {
    const { blobs, own, group, fetcher, repository } = this.#deps
    const known = this.#blobInMemory(digest)
    if (known) return known
    return this.#inTime('BLOB_UNKNOWN', { digest }, (signal) =>
      this.#remembering(digest, async () => {
        const source = () => group.openTransfer(repository, digest, fetcher.sizeOf(repository, digest))
        const opening = blobs.open(digest, fetcher.nameOf(repository), source, from)
        try {
          const opened = await abortable(opening, signal)
          await abortable(own.check(repository, digest, opened, signal), signal)
          return opened
        } catch (error) {
          // Too late for this client, or not for this name: what opens after all must not stay open.
          opening.then(({ reader }) => reader.close()).catch(() => {})
          throw error
        }
      }),
    )
  }

  statBlob(digest: Digest): Promise<BlobFacts> {
    const { blobs, own, group, fetcher, repository } = this.#deps
    return this.#inTime('BLOB_UNKNOWN', { digest }, (signal) =>
      this.#remembering(digest, async () => {
        const known = await blobs.stat(digest)
        if (known) {
          await own.check(repository, digest, known, signal)
          return known
        }
        const told = fetcher.sizeOf(repository, digest)
        if (told !== undefined) return { digest, size: told, outcome: 'miss' as const }
        const { size, upstream } = await group.statBlob(repository, digest, signal)
        own.remember(repository, digest)
        return { digest, size, outcome: 'miss' as const, source: upstream }
      }),
    )
  }

  async getManifest(reference: Reference, refresh = false): Promise<ServedManifest> {
    const { fetcher, resolver, repository, hotTags } = this.#deps
    if (reference.kind === 'tag') hotTags?.asked(repository, reference.tag)
    const known = refresh ? undefined : this.#manifestInMemory(reference)
    if (known) return known
    return this.#inTime('MANIFEST_UNKNOWN', { reference: printReference(reference) }, async () => {
      const { manifest, ...answer } =
        reference.kind === 'digest'
          ? await fetcher.get(repository, reference.digest)
          : await resolver.resolve(repository, reference.tag, refresh)
      return { ...manifest, ...answer }
    })
  }

  listTags(page: PageRequest): Promise<TagPage> {
    const { listing, repository } = this.#deps
    return this.#inTime('NAME_UNKNOWN', { repository }, () => listing.page(repository, page))
  }

  listReferrers(subject: Digest, artifactType?: string): Promise<ReferrersAnswer> {
    const { group, repository } = this.#deps
    // A 404 is passed on: clients then look for the fallback tag (distribution specification, Referrers Tag Schema).
    return this.#inTime('MANIFEST_UNKNOWN', { digest: subject }, async (signal) => {
      const { descriptors, filtered } = await group.listReferrers(repository, subject, artifactType, signal)
      return { descriptors: filtered ? descriptors : ofType(descriptors, artifactType) }
    })
  }

  // What is in memory and may be had is given out at once: most requests of a busy mirror are for it, and all that follows,
  // with its timers and signals, costs several times as much.

  #manifestInMemory(reference: Reference): ServedManifest | undefined {
    const { group, fetcher, resolver, repository } = this.#deps
    if (!group.allows(repository)) return undefined
    const found =
      reference.kind === 'tag'
        ? resolver.inMemory(repository, reference.tag)
        : fetcher.inMemory(repository, reference.digest)
    if (!found) return undefined
    const { digest, mediaType, bytes, source } = found
    return { digest, mediaType, bytes, source, outcome: 'hit' }
  }

  #blobInMemory(digest: Digest): OpenBlob | undefined {
    const { group, blobs, own, negative, repository } = this.#deps
    if (!group.allows(repository) || negative.holds(this.#keyOf(digest))) return undefined
    const blob = blobs.inMemory(digest)
    return blob && own.isProven(repository, digest, blob.source) ? blob : undefined
  }

  #keyOf(digest: Digest): string {
    return `${this.#deps.repository}/blobs/${digest}`
  }

  /** Does not ask again for a while what an origin said does not exist. */
  async #remembering<Value>(digest: Digest, work: () => Promise<Value>): Promise<Value> {
    const { negative } = this.#deps
    const key = this.#keyOf(digest)
    negative.check(key)
    try {
      return await work()
    } catch (error) {
      if (isAuthoritativeAbsence(error)) negative.remember(key, error)
      throw error
    }
  }

  /** One budget for all that is asked one after the other: mirrors after origins, tokens before either. */
  #inTime<Value>(
    missing: Missing,
    detail: Record<string, unknown>,
    work: (signal: AbortSignal) => Promise<Value>,
  ): Promise<Value> {
    const { group, repository, budgetMs } = this.#deps
    const signal = AbortSignal.timeout(budgetMs)
    return this.#translated(missing, detail, async () => {
      // What may not be asked for is not opened by a digest that came here by another name either.
      group.checkAllowed(repository)
      return this.#patiently(() => work(signal), signal)
    })
  }

  /** Tries again when those who asked to wait may be asked, if that leaves a quarter of the budget. */
  async #patiently<Value>(work: () => Promise<Value>, signal: AbortSignal): Promise<Value> {
    let patienceMs = this.#deps.budgetMs * 0.75
    let pauseMs = 0
    let asksToWait: unknown
    for (;;) {
      try {
        if (pauseMs > 0) await delay(pauseMs, signal)
        return await abortable(work(), signal)
      } catch (error) {
        // That time is up says less.
        if (signal.aborted) throw asksToWait ?? error
        const waitMs = waitOf(error)
        if (waitMs === undefined || waitMs > patienceMs) throw error
        pauseMs = Math.max(waitMs, LEAST_PAUSE_MS)
        patienceMs -= pauseMs
        asksToWait = error
      }
    }
  }

  async #translated<Value>(
    missing: Missing,
    detail: Record<string, unknown>,
    work: () => Promise<Value>,
  ): Promise<Value> {
    try {
      return await work()
    } catch (error) {
      throw toOciError(error, missing, detail)
    }
  }
}
