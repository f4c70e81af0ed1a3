import type { BlobStore, StoredBlob } from '../metadata/blob-store.js'
import type { BlobReader, OpenBlob } from '../oci/content.js'
import { type Digest, matches } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { MANIFEST_LIMIT } from '../oci/manifest.js'

/** Content kept in memory, bounded in bytes by whoever owns it. */
export interface ContentMemory {
  /** Nothing larger is kept, in bytes. */
  readonly entryLimit: number
  get(digest: Digest): Uint8Array | undefined
  set(digest: Digest, bytes: Uint8Array): void
}

/**
 * The bytes of what was pushed, whichever repository they belong to; small ones from memory. Whoever asks has seen a link:
 * where the index does not know what a link says, it learns it.
 */
export class LocalContent {
  readonly #store: BlobStore
  readonly #hot: ContentMemory

  constructor({ store, hot }: { store: BlobStore; hot: ContentMemory }) {
    this.#store = store
    this.#hot = hot
  }

  /** @returns `undefined` when the bytes are not there @throws {OciError} UNKNOWN when they are damaged */
  async open(digest: Digest): Promise<OpenBlob | undefined> {
    const known = this.#hot.get(digest)
    if (known) return inMemory(digest, known)
    const blob = await this.#openStored(digest)
    if (!blob) return undefined
    if (blob.size > this.#hot.entryLimit) return { digest, size: blob.size, outcome: 'local', reader: blob }
    return inMemory(digest, await this.#load(digest, blob))
  }

  /** A manifest's bytes. @returns `undefined` when they are not there @throws {OciError} UNKNOWN when they are damaged */
  async manifestBytes(digest: Digest): Promise<Uint8Array | undefined> {
    const known = this.#hot.get(digest)
    if (known) return known
    const blob = await this.#openStored(digest)
    return blob && this.#load(digest, blob)
  }

  /** Runs `work`, which looks whether `digest` is here, so that what it finds is not collected as garbage for a while. */
  using<Result>(digest: Digest, work: () => Promise<Result>): Promise<Result> {
    return this.#store.using(digest, work)
  }

  /**
   * Looks by `linked` whether `digest` is here, with `using`.
   *
   * @param linked the size of the file in bytes, where there are a link and a file
   * @returns that size; `undefined` also where the file is not whole, so that the client pushes it again
   */
  async sizeOf(digest: Digest, linked: () => Promise<number | undefined>): Promise<number | undefined> {
    const size = await this.using(digest, linked)
    if (size === undefined) return undefined
    const row = this.#store.find(digest, 'pushed')
    return (row ? row.size === size : await this.#store.keep(digest)) ? size : undefined
  }

  /** Keeps what was just pushed where the next reader will look first. */
  remember(digest: Digest, bytes: Uint8Array): void {
    this.#hot.set(digest, bytes)
  }

  async #openStored(digest: Digest): Promise<StoredBlob | undefined> {
    if (!this.#store.find(digest, 'pushed')) await this.#store.keep(digest)
    return this.#store.open(digest, 'pushed')
  }

  async #load(digest: Digest, blob: StoredBlob): Promise<Uint8Array> {
    const bytes = await readWhole(blob)
    if (!matches(digest, bytes)) {
      throw new OciError('UNKNOWN', 'the stored content is damaged: push it again', { detail: { digest } })
    }
    this.#hot.set(digest, bytes)
    return bytes
  }
}

async function readWhole(blob: StoredBlob): Promise<Uint8Array> {
  try {
    if (blob.size > MANIFEST_LIMIT)
      throw new Error(`${blob.row.digest} is too large to be read whole: ${blob.size} bytes`)
    const bytes = Buffer.allocUnsafeSlow(blob.size)
    for (let position = 0; position < bytes.length; ) {
      const count = await blob.read(bytes.subarray(position), position)
      if (count === 0) throw new Error(`${blob.row.digest} ended at ${position}, before ${bytes.length}`)
      position += count
    }
    return bytes
  } finally {
    await blob.close()
  }
}

function inMemory(digest: Digest, bytes: Uint8Array): OpenBlob {
  return { digest, size: bytes.length, outcome: 'local', bytes, reader: new MemoryReader(bytes) }
}

class MemoryReader implements BlobReader {
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const part = this.#bytes.subarray(position, position + buffer.length)
    buffer.set(part)
    return part.length
  }

  async close(): Promise<void> {}
}
