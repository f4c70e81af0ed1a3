/** Buffers of one size, reused, so that streaming makes no garbage. */
export class BufferPool {
  readonly #sizeBytes: number
  readonly #keep: number
  readonly #free: Buffer[] = []

  /** @param keep how many idle buffers are kept; more can be out at a time */
  constructor({ sizeBytes, keep }: { sizeBytes: number; keep: number }) {
    this.#sizeBytes = sizeBytes
    this.#keep = keep
  }

  /** A buffer with anything in it; give it back when nothing reads or writes it any more. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#sizeBytes)
  }

  give(buffer: Buffer): void {
    if (this.#free.length < this.#keep) this.#free.push(buffer)
  }
}
