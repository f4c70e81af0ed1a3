import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'

/** Nothing larger is kept in memory: beyond it reading the file costs little more. */
const ENTRY_LIMIT = 1024 * 1024

/** Small blobs and manifests in memory, bounded in bytes, least recently used out first. */
export class HotContent {
  readonly #entries: LRUCache<Digest, Uint8Array> | undefined
  /** The largest content that is kept, in bytes. */
  readonly entryLimit: number

  /** @param memoryBytes 0 keeps nothing */
  constructor({ memoryBytes }: { memoryBytes: number }) {
    this.entryLimit = Math.min(ENTRY_LIMIT, Math.floor(memoryBytes / 8))
    if (this.entryLimit === 0) return
    // An empty blob has a size too: the library wants at least one.
    this.#entries = new LRUCache({ maxSize: memoryBytes, sizeCalculation: ({ length }) => length + 256 })
  }

  get(digest: Digest): Uint8Array | undefined {
    return this.#entries?.get(digest)
  }

  set(digest: Digest, bytes: Uint8Array): void {
    if (bytes.length <= this.entryLimit) this.#entries?.set(digest, bytes)
  }

  delete(digest: Digest): void {
    this.#entries?.delete(digest)
  }
}
