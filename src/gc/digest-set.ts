import { type Digest, hexOf } from '../oci/digest.js'

const FIRST_CAPACITY = 1024
/** Bits of a digest that fit into a number exactly, in hex digits: 52 bits. */
const PRINT_DIGITS = 13

/** A number that stands for a digest; two digests share one about once in 10^15 pairs. */
export function printOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, PRINT_DIGITS), 16)
}

/**
 * Digests, 16 bytes or less for each, so that millions fit. It may say of a digest that it is in it when only one with the
 * same beginning is: whoever uses it must err on the safe side then.
 */
export class DigestSet {
  #slots = new Float64Array(FIRST_CAPACITY).fill(-1)
  #size = 0

  get size(): number {
    return this.#size
  }

  add(digest: Digest): void {
    this.addPrint(printOf(digest))
  }

  addPrint(print: number): void {
    const at = this.#find(print)
    if (this.#slots[at] === print) return
    this.#slots[at] = print
    this.#size++
    if (this.#size * 2 > this.#slots.length) this.#grow()
  }

  has(digest: Digest): boolean {
    const print = printOf(digest)
    return this.#slots[this.#find(print)] === print
  }

  /** Where `print` is, or the free slot where it would be. */
  #find(print: number): number {
    const { length } = this.#slots
    let at = print % length
    while (this.#slots[at] !== -1 && this.#slots[at] !== print) at = (at + 1) % length
    return at
  }

  #grow(): void {
    const before = this.#slots
    this.#slots = new Float64Array(before.length * 2).fill(-1)
    for (const print of before) if (print !== -1) this.#slots[this.#find(print)] = print
  }
}
