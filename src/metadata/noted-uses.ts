import { type Digest, hexOf } from '../oci/digest.js'

/** Of a digest, in hex: as many values as there are bits. */
const PRINT_DIGITS = 6
const BITS = 16 ** PRINT_DIGITS

/**
 * Digests that were used, in 2 MiB however many they are: anybody may ask for any number. Of one that was not it may say
 * that it was, one time in seventeen after a million uses: then it is kept a while for nothing.
 */
export class NotedUses {
  readonly #bits = new Uint8Array(BITS / 8)

  add(digest: Digest): void {
    const at = printOf(digest)
    this.#bits[at >>> 3]! |= 1 << (at & 7)
  }

  has(digest: Digest): boolean {
    const at = printOf(digest)
    return (this.#bits[at >>> 3]! & (1 << (at & 7))) !== 0
  }
}

function printOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, PRINT_DIGITS), 16)
}
