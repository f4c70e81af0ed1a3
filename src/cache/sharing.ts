import type { BlobSource } from './blob-source.js'
import type { Segments } from './segments.js'
import type { Spool } from './spool.js'

export interface SegmentOptions {
  /** Of one segment, bytes. */
  size: number
  /** A blob below this comes in one stream. */
  minBlob: number
}

export interface SharingDeps {
  segments: Segments
  spool: Spool
  options: SegmentOptions
  /** How busy this process was since it was asked last, from 0 to 1. */
  load: () => number
}

/** So much is worth no further stream, and no reader who waits no longer than this; milliseconds. */
export const SOON_MS = 500
/** Nor is what comes as quickly as this, bytes a millisecond, about a gigabit a second: this machine would be busier, and no quicker. */
const QUICK = 100 * 1024
/** From this share of its time on this process counts as busy. */
const BUSY = 0.85

/** Whether a blob is shared out among several streams: where they can be put down, and it comes sooner by them. */
export class Sharing {
  readonly #segments: Segments
  readonly #spool: Spool
  readonly #options: SegmentOptions
  readonly #load: () => number

  constructor({ segments, spool, options, load }: SharingDeps) {
    this.#segments = segments
    this.#spool = spool
    this.#options = options
    this.#load = load
  }

  /** Whether several streams can be put down in any order, and the blob is large. */
  get isPossible(): boolean {
    const { size } = this.#segments
    return this.#spool.keeps && size >= this.#options.minBlob && size < Number.POSITIVE_INFINITY
  }

  /** Whether one more stream would bring the end nearer. */
  get pays(): boolean {
    return this.#segments.remainingMs > SOON_MS && this.#segments.rate < QUICK
  }

  /** Whether this process is what holds things up, since this was asked last: more streams make it no quicker. */
  isBusy(): boolean {
    return this.#load() > BUSY
  }

  /** Whether it begins with a part: unless the whole will be here soon: a stream that has to be broken off has sent more than was needed. */
  beginsWithPart(source: BlobSource): boolean {
    const { sizeBytes = 0 } = source
    const usualMs = source.usualMs(sizeBytes)
    return sizeBytes >= this.#options.minBlob && !(usualMs <= SOON_MS || sizeBytes / usualMs >= QUICK)
  }
}
