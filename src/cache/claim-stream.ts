import type { BlobBytes } from './blob-source.js'
import type { Claim } from './segments.js'

export interface ClaimStreamDeps {
  claim: Claim
  /** Who is asked for it; `undefined` where the source decides, for the one stream that runs until the end. */
  asked: string | undefined
  /** Ends it as well. */
  signal: AbortSignal
}

/** The stream of one claim, from when it is asked for. */
export class ClaimStream {
  readonly claim: Claim
  /** What it is asked with. */
  readonly signal: AbortSignal
  /** Up to where it was asked for. */
  readonly to: number
  readonly #asked: string | undefined
  readonly #ending = new AbortController()
  #bytes: BlobBytes | undefined

  constructor({ claim, asked, signal }: ClaimStreamDeps) {
    this.claim = claim
    this.to = claim.to
    this.#asked = asked
    this.signal = AbortSignal.any([signal, this.#ending.signal])
  }

  /** Who gives it, as far as that is known. */
  get upstream(): string | undefined {
    return this.#bytes?.upstream ?? this.#asked
  }

  /** What was opened; `undefined` until then. */
  get bytes(): BlobBytes | undefined {
    return this.#bytes
  }

  set bytes(bytes: BlobBytes) {
    this.#bytes = bytes
  }

  /** Whether it runs beside the one that runs until the end. */
  get isBeside(): boolean {
    return this.#asked !== undefined
  }

  /** Whether it has nothing more to get: all of it is here, or another's. */
  get isOver(): boolean {
    return this.claim.at >= this.claim.to
  }

  /** Ends it, also while it is being opened; what it has not got is nobody's. */
  giveUp(): void {
    this.claim.to = this.claim.at
    this.destroy()
  }

  /** Closes it without a word on its claim. */
  destroy(): void {
    this.#bytes?.destroy()
    this.#ending.abort(new Error('the stream is not needed any more'))
  }
}

/** The streams of one download. */
export class ClaimStreams extends Set<ClaimStream> {
  /** Closes them all without a word on their claims. */
  destroy(): void {
    for (const stream of this) stream.destroy()
  }

  /** Ends them all. */
  giveUp(): void {
    for (const stream of this) stream.giveUp()
  }

  /** Where nothing can be put down any more: only what follows at `end` is of use, and that only from who has begun. */
  giveUpAllBut(end: number): void {
    for (const stream of this) if (stream.claim.at !== end || (stream.isBeside && !stream.bytes)) stream.giveUp()
  }
}
