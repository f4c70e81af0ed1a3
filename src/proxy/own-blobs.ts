import { LRUCache } from 'lru-cache'
import type { BlobCache } from '../cache/blob-cache.js'
import type { OpenBlob } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import type { ManifestFetcher } from './manifest-fetcher.js'

/** Blobs of which an upstream's word is remembered. */
const WORDS_LIMIT = 100_000

export interface OwnBlobsDeps {
  group: UpstreamGroup
  blobs: BlobCache
  fetcher: ManifestFetcher
  /** Whether anything that is read through is not for everybody: upstreams have credentials, or access rules speak of it. */
  isRestricted: () => boolean
}

/**
 * Which cached blobs are a repository's own. What came here by another name may be private there: knowing its digest opens
 * it only where a manifest of this very repository names it, or one of its upstreams says by this name that it has it.
 */
export class OwnBlobs {
  readonly #deps: OwnBlobsDeps
  /** By the repository with its registry, and digest. */
  readonly #words = new LRUCache<string, true>({ max: WORDS_LIMIT })

  constructor(deps: OwnBlobsDeps) {
    this.#deps = deps
  }

  /** An upstream has said by this name that it has it. */
  remember(repository: Repository, digest: Digest): void {
    this.#words.set(this.#keyOf(repository, digest), true)
  }

  /**
   * Lets what the cache has given out, or knows, pass.
   *
   * @param found `source` is the upstream whose bytes they are; undefined where that is not known
   * @throws {AllUpstreamsFailedError} where nobody says that the repository has it, or the signal's reason
   */
  async check(
    repository: Repository,
    digest: Digest,
    { outcome, source }: Pick<OpenBlob, 'outcome' | 'source'>,
    signal: AbortSignal,
  ): Promise<void> {
    // A beginning that was left here says nothing of who may have it before an upstream has gone on with it.
    if (outcome === 'miss' && source !== undefined) return this.remember(repository, digest)
    if (this.isProven(repository, digest, source)) return
    await this.#deps.fetcher.recall(repository)
    if (this.#isKnown(repository, digest)) return
    await this.#deps.group.statBlob(repository, digest, signal)
    this.remember(repository, digest)
  }

  /** Whether a cached blob passes by what is known already; `check` may learn more. */
  isProven(repository: Repository, digest: Digest, source: string | undefined): boolean {
    return this.#isKnown(repository, digest) || this.#isOpenToAll(repository, digest, source)
  }

  #isKnown(repository: Repository, digest: Digest): boolean {
    return (
      this.#deps.fetcher.sizeOf(repository, digest) !== undefined || this.#words.has(this.#keyOf(repository, digest))
    )
  }

  /** Where nothing is restricted an upstream that gave it by another name may be believed to have it by this one too. */
  #isOpenToAll(repository: Repository, digest: Digest, source: string | undefined): boolean {
    const { group, blobs, fetcher, isRestricted } = this.#deps
    const whence = blobs.whence(digest) ?? { source }
    const mine = whence.place === fetcher.nameOf(repository)
    if (mine && source !== undefined) return true
    if (isRestricted()) return false
    // Where it came from is not known any more once index.db was lost.
    const forgotten = whence.place === undefined && whence.source === undefined
    return mine || forgotten || group.mayAsk(whence.source, repository)
  }

  #keyOf(repository: Repository, digest: Digest): string {
    return `${this.#deps.fetcher.nameOf(repository)}@${digest}`
  }
}
