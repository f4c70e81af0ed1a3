import type { Hash } from 'node:crypto'
import { algorithmOf, type Digest, digestFrom, hasherFor } from '../oci/digest.js'

/** Where bytes are found that came before their turn. */
export interface Readable {
  readableTo(position: number): number
  read(buffer: Uint8Array, position: number): Promise<number>
}

const READ_BYTES = 1024 * 1024

/**
 * The hash of a blob from its first byte on, held against its digest at any time. It takes what comes next as it comes;
 * what comes before its turn it reads later, from where it was put.
 */
export class RunningDigest {
  readonly #wanted: Digest
  #hash: Hash
  #bytes = 0
  #following: Promise<void> | undefined
  #buffer: Buffer | undefined

  constructor(wanted: Digest) {
    this.#wanted = wanted
    this.#hash = hasherFor(wanted)
  }

  /** So many bytes, from the first on, have gone into it. */
  get bytes(): number {
    return this.#bytes
  }

  /** Takes a chunk if its turn has come. */
  offer(position: number, chunk: Uint8Array): void {
    if (position === this.#bytes && !this.#following) this.#update(chunk)
  }

  /** Reads on for as long as there is something; resolves when there is nothing more. @throws what reading throws */
  follow(source: Readable): Promise<void> {
    if (!this.#following && source.readableTo(this.#bytes) <= this.#bytes) return Promise.resolve()
    this.#following ??= this.#readOn(source).finally(() => {
      this.#following = undefined
    })
    return this.#following
  }

  matches(): boolean {
    return digestFrom(this.#hash.copy(), algorithmOf(this.#wanted)) === this.#wanted
  }

  /** Begins at the first byte again; there must be nothing to read until it has resolved. */
  async reset(): Promise<void> {
    // What it was reading has been thrown away meanwhile.
    await this.#following?.catch(() => {})
    this.#hash = hasherFor(this.#wanted)
    this.#bytes = 0
  }

  async #readOn(source: Readable): Promise<void> {
    for (let left = this.#left(source); left > 0; left = this.#left(source)) {
      this.#buffer ??= Buffer.allocUnsafeSlow(READ_BYTES)
      const count = await source.read(this.#buffer.subarray(0, left), this.#bytes)
      if (count === 0) throw new Error('the part file is shorter than it was')
      this.#update(this.#buffer.subarray(0, count))
    }
    this.#buffer = undefined
  }

  #left(source: Readable): number {
    return source.readableTo(this.#bytes) - this.#bytes
  }

  #update(chunk: Uint8Array): void {
    this.#hash.update(chunk)
    this.#bytes += chunk.length
  }
}
