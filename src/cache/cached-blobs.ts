import type { BlobStore, StoredBlob } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { BlobFacts, BlobReader, OpenBlob } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { HotContent } from './hot-content.js'

export interface CachedBlobsDeps {
  store: BlobStore
  index: MetadataIndex
  hot: HotContent
}

/** Cached blobs that are whole: from memory, or from the store. */
export class CachedBlobs {
  readonly #deps: CachedBlobsDeps

  constructor(deps: CachedBlobsDeps) {
    this.#deps = deps
  }

  /** Which upstream gave it, if it is here. */
  find(digest: Digest): { source: string | undefined } | undefined {
    return this.#deps.store.find(digest, 'cached')
  }

  /** Opens it, which counts as its use; `undefined` when it is not here. */
  async open(digest: Digest): Promise<OpenBlob | undefined> {
    const known = this.inMemory(digest)
    if (known) return known
    const stored = await this.#deps.store.open(digest, 'cached')
    if (!stored) return undefined
    this.#deps.index.touch(digest)
    return this.#handOut(digest, stored)
  }

  /** As `open`, where no file needs to be opened for it. */
  inMemory(digest: Digest): OpenBlob | undefined {
    const { store, index, hot } = this.#deps
    const bytes = hot.get(digest)
    const row = bytes && store.find(digest, 'cached')
    if (!row) return undefined
    index.touch(digest)
    return { digest, size: bytes.length, outcome: 'hit', source: row.source, bytes, reader: memoryReader(bytes) }
  }

  /** What is known of it, which is no use of it; `undefined` when it is not here. */
  async stat(digest: Digest): Promise<BlobFacts | undefined> {
    const stored = await this.#deps.store.open(digest, 'cached')
    if (!stored) return undefined
    await stored.close()
    return factsOf(digest, stored)
  }

  /** Reads small content into memory, so that the next one need not open the file. */
  async #handOut(digest: Digest, stored: StoredBlob): Promise<OpenBlob> {
    const facts = factsOf(digest, stored)
    if (stored.size > this.#deps.hot.entryLimit) return { ...facts, reader: stored }
    try {
      const bytes = await readWhole(stored)
      this.#deps.hot.set(digest, bytes)
      return { ...facts, bytes, reader: memoryReader(bytes) }
    } finally {
      await stored.close()
    }
  }
}

function factsOf(digest: Digest, { size, row }: StoredBlob): BlobFacts {
  return { digest, size, outcome: 'hit', source: row.source }
}

/** A reader over content in memory; closing it does nothing. */
function memoryReader(bytes: Uint8Array): BlobReader {
  return {
    async read(buffer, position) {
      const part = bytes.subarray(position, position + buffer.length)
      buffer.set(part)
      return part.length
    },
    async close() {},
  }
}

async function readWhole(stored: StoredBlob): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(stored.size)
  for (let at = 0; at < bytes.length; ) {
    const count = await stored.read(bytes.subarray(at), at)
    if (count === 0) throw new Error('the file ended early')
    at += count
  }
  return bytes
}
