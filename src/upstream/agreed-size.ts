import type { BlobStream } from './answers.js'
import { UpstreamError } from './errors.js'

/** How large a blob is by what is known of it: a manifest's word holds, or that of the first whose bytes were taken. */
export class AgreedSize {
  /** What a manifest has said; `undefined` when none has. */
  readonly promised: number | undefined
  #bytes: number | undefined
  /** Bytes of the blob have been given that hold: nobody else may give it another size. */
  #given = false

  constructor(promised: number | undefined) {
    this.promised = promised
    this.#bytes = promised
  }

  /** `undefined` while nobody has said so. */
  get bytes(): number | undefined {
    return this.#bytes
  }

  /** @throws {UpstreamError} `lying` when a stream from byte `from` on is of a blob of another size; it is destroyed */
  check(stream: BlobStream, from: number): void {
    const differs = this.#bytes !== undefined && stream.size !== undefined && stream.size !== this.#bytes
    if (differs && (from > 0 || this.#given || this.promised !== undefined)) {
      stream.destroy()
      const message = `the blob has ${stream.size} bytes there, ${this.#bytes} elsewhere`
      throw new UpstreamError('lying', message, { upstream: stream.upstream })
    }
  }

  /** A stream from byte `from` on is read, of which the upstream says this. */
  told(size: number | undefined, from: number): void {
    this.#bytes = from > 0 || this.#given ? (this.#bytes ?? size) : (size ?? this.#bytes)
  }

  /** Bytes have been given. */
  hold(): void {
    this.#given = true
  }

  /** What was given was wrong, and so may its size be. */
  forget(): void {
    this.#bytes = this.promised
    this.#given = false
  }
}
