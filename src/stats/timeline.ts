import { StoredTally, type StoredTallyOptions } from './stored-tally.js'
import { Tally } from './tally.js'

export interface TimelineOptions extends StoredTallyOptions {
  /** Length of one bucket. */
  bucketMs: number
  /** How many are kept. The one that is being filled counts, so they reach back at least `buckets - 1` lengths. */
  buckets: number
}

/** The recent past, in a ring of equal buckets that begin at multiples of their length. */
export class Timeline {
  readonly #bucketMs: number
  readonly #ring: StoredTally[]

  /** Loads every bucket that was kept. */
  constructor({ bucketMs, buckets, ...options }: TimelineOptions) {
    this.#bucketMs = bucketMs
    this.#ring = Array.from({ length: buckets }, (_, at) =>
      StoredTally.load({ ...options, name: `${options.name}.${at}` }, 0),
    )
  }

  /** How far back it reaches at any time. */
  get reachMs(): number {
    return (this.#ring.length - 1) * this.#bucketMs
  }

  record(at: number, change: (tally: Tally) => void): void {
    const number = Math.floor(at / this.#bucketMs)
    const bucket = this.#ring[number % this.#ring.length]!
    const startsAt = number * this.#bucketMs
    if (bucket.since !== startsAt) bucket.restart(startsAt)
    bucket.record(change)
  }

  /** Everything from `from` to `now`, counted from the start of the bucket that holds `from`. */
  sum(from: number, now: number): { since: number; tally: Tally } {
    const since = Math.floor(from / this.#bucketMs) * this.#bucketMs
    const tally = new Tally(Number.POSITIVE_INFINITY)
    for (const bucket of this.#ring) if (bucket.since >= since && bucket.since <= now) tally.merge(bucket.tally)
    return { since, tally }
  }

  /** @throws what the store throws */
  save(): void {
    for (const bucket of this.#ring) bucket.save()
  }
}
