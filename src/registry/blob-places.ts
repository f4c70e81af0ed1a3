import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'

const DIGESTS_LIMIT = 20_000
/** Of one digest, those that linked it last. */
const REPOSITORIES_LIMIT = 16

export interface BlobPlacesDeps {
  /** A bounded number of repositories whose names are like that one's. */
  near: (repository: Repository) => readonly Repository[]
}

/**
 * Where else a blob may be: where it was pushed or mounted lately, in memory, and in the repositories with names next to
 * that of the one that wants it, which a restart does not change. A look costs the same whether anybody has the blob or
 * not; what lies elsewhere costs a client an upload.
 */
export class BlobPlaces {
  readonly #near: BlobPlacesDeps['near']
  readonly #latest = new LRUCache<Digest, readonly Repository[]>({ max: DIGESTS_LIMIT })

  constructor({ near }: BlobPlacesDeps) {
    this.#near = near
  }

  /** Notes that it was pushed or mounted there. */
  add(repository: Repository, digest: Digest): void {
    const others = this.#latestOf(digest).filter((each) => each !== repository)
    this.#latest.set(digest, [repository, ...others].slice(0, REPOSITORIES_LIMIT))
  }

  /** Each once, those that got it last first; any of them may not have it, or no longer. */
  likely(digest: Digest, repository: Repository): ReadonlySet<Repository> {
    return new Set([...this.#latestOf(digest), ...this.#near(repository)])
  }

  #latestOf(digest: Digest): readonly Repository[] {
    return this.#latest.get(digest) ?? []
  }
}
