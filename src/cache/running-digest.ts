import type { Hash } from 'node:crypto'
import { algorithmOf, type Digest, digestFrom, hasherFor } from '../oci/digest.js'

/** The hash of what has arrived of a blob so far, held against its digest at any time. */
export class RunningDigest {
  readonly #wanted: Digest
  #hash: Hash
  #bytes = 0

  constructor(wanted: Digest) {
    this.#wanted = wanted
    this.#hash = hasherFor(wanted)
  }

  get bytes(): number {
    return this.#bytes
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk)
    this.#bytes += chunk.length
  }

  matches(): boolean {
    return digestFrom(this.#hash.copy(), algorithmOf(this.#wanted)) === this.#wanted
  }

  reset(): void {
    this.#hash = hasherFor(this.#wanted)
    this.#bytes = 0
  }
}
