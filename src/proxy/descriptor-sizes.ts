import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'
import { readManifest } from '../oci/manifest.js'

const SIZES_LIMIT = 100_000
const MANIFESTS_LIMIT = 10_000

/**
 * How large the blobs of a repository are, by what its own manifests say: a HEAD costs nothing upstream, and one that
 * answers with another length is found out before the client has seen a byte. Nothing is believed across repositories,
 * since anybody may publish a manifest that names another's layer with a wrong size.
 */
export class DescriptorSizes {
  readonly #sizes = new LRUCache<string, number>({ max: SIZES_LIMIT })
  readonly #learnt = new LRUCache<string, true>({ max: MANIFESTS_LIMIT })

  /** @param name the repository with its registry */
  learn(name: string, { digest, mediaType, bytes }: { digest: Digest; mediaType: string; bytes: Uint8Array }): void {
    const key = `${name}@${digest}`
    if (this.#learnt.has(key)) return
    this.#learnt.set(key, true)
    for (const { digest: blob, size, urls } of readManifest(bytes, mediaType)?.blobs ?? []) {
      // That a manifest names a foreign layer does not say that its registry has it.
      if (!urls?.length) this.#sizes.set(`${name}@${blob}`, size)
    }
  }

  /** In bytes; `undefined` when no manifest has named it. */
  of(name: string, digest: Digest): number | undefined {
    return this.#sizes.get(`${name}@${digest}`)
  }
}
