import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'

const DIGESTS_LIMIT = 20_000
/** Of one digest, those that linked it last. */
const REPOSITORIES_LIMIT = 16

/**
 * Where blobs were pushed or mounted lately, in memory: a look costs the same whether anybody has the blob or not. It is
 * bounded and gone after a restart, which costs a client an upload.
 */
export class RecentLinks {
  readonly #repositories = new LRUCache<Digest, readonly Repository[]>({ max: DIGESTS_LIMIT })

  add(repository: Repository, digest: Digest): void {
    const others = this.of(digest).filter((each) => each !== repository)
    this.#repositories.set(digest, [repository, ...others].slice(0, REPOSITORIES_LIMIT))
  }

  /** The latest first; what was deleted meanwhile is among them. */
  of(digest: Digest): readonly Repository[] {
    return this.#repositories.get(digest) ?? []
  }
}
