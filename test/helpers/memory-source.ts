import type { BlobFacts, BlobReader, OpenBlob, Outcome, ServedManifest } from '../../src/oci/content.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { OciError } from '../../src/oci/errors.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { printReference, type Reference } from '../../src/oci/reference.js'
import type { ContentSource, ReferrersAnswer, TagPage } from '../../src/routing/content-source.js'

export interface MemorySourceOptions {
  outcome?: Outcome
  source?: string
}

/** A repository in memory. Its readers can be made to wait, or to fail, at a position. */
export class MemorySource implements ContentSource {
  readonly outcome: Outcome
  readonly source: string | undefined
  /** Readers wait here until `release`. */
  waitAt = Number.POSITIVE_INFINITY
  /** Readers fail here. */
  failAt = Number.POSITIVE_INFINITY
  failure: Error = new Error('the bytes can no longer be had')
  /** Sends blobs as if their size were not known. */
  sizeless = false
  /** Hands blobs over with their bytes, as from memory. */
  hot = false
  opened = 0
  closed = 0
  readonly #contents = new Map<string, ServedManifest>()
  readonly #waiting = new Set<() => void>()

  constructor({ outcome = 'hit', source }: MemorySourceOptions = {}) {
    this.outcome = outcome
    this.source = source
  }

  addBlob(bytes: Uint8Array): Digest {
    const digest = digestOf(bytes)
    this.#contents.set(digest, { digest, bytes, mediaType: 'application/octet-stream', ...this.#origin() })
    return digest
  }

  addManifest(json: object, tag: string, facts: Partial<ServedManifest> = {}): Digest {
    const bytes = new TextEncoder().encode(JSON.stringify(json))
    const digest = digestOf(bytes)
    const manifest = { digest, bytes, mediaType: MEDIA_TYPES.ociManifest, ...this.#origin(), ...facts }
    this.#contents.set(tag, manifest)
    this.#contents.set(digest, manifest)
    return digest
  }

  /** Lets the readers that wait at `waitAt` go on. */
  release(): void {
    this.waitAt = Number.POSITIVE_INFINITY
    this.#wake()
  }

  async openBlob(digest: Digest): Promise<OpenBlob> {
    const { bytes } = this.#find(digest, 'BLOB_UNKNOWN')
    this.opened++
    const size = this.sizeless ? undefined : bytes.length
    const hot = this.hot ? { bytes } : {}
    return { digest, size, reader: this.#reader(bytes), ...this.#origin(), ...hot }
  }

  async statBlob(digest: Digest): Promise<BlobFacts> {
    return { digest, size: this.#find(digest, 'BLOB_UNKNOWN').bytes.length, ...this.#origin() }
  }

  async getManifest(reference: Reference): Promise<ServedManifest> {
    return this.#find(printReference(reference), 'MANIFEST_UNKNOWN')
  }

  async listTags(): Promise<TagPage> {
    return { tags: [...this.#contents.keys()].filter((name) => !name.includes(':')).sort(), more: false }
  }

  async listReferrers(): Promise<ReferrersAnswer> {
    return { descriptors: [] }
  }

  #origin() {
    return { outcome: this.outcome, source: this.source }
  }

  #find(name: string, code: 'BLOB_UNKNOWN' | 'MANIFEST_UNKNOWN'): ServedManifest {
    const content = this.#contents.get(name)
    if (!content) throw new OciError(code, 'not here')
    return content
  }

  #reader(bytes: Uint8Array): BlobReader {
    let closed = false
    return {
      read: async (buffer, position) => {
        while (position >= this.waitAt && !closed) await new Promise<void>((resolve) => this.#waiting.add(resolve))
        if (closed) throw new Error('read after close')
        if (position >= this.failAt) throw this.failure
        const end = Math.min(
          bytes.length,
          position + buffer.length,
          position < this.waitAt ? this.waitAt : Infinity,
          this.failAt,
        )
        buffer.set(bytes.subarray(position, end))
        return end - position
      },
      close: async () => {
        if (closed) throw new Error('closed twice')
        closed = true
        this.closed++
        this.#wake()
      },
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }
}
