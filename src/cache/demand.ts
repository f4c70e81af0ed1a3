import type { RangeSet } from '../lib/range-set.js'
import type { ClaimStream } from './claim-stream.js'
import type { Segments } from './segments.js'

export interface Position {
  position: number
  waiting: boolean
}

export interface DemandDeps {
  /** Where readers are and whether they wait for bytes there; who waits longest comes first of those who wait. */
  positions: () => readonly Position[]
  /** What is here. */
  held: RangeSet
  segments: Segments
  /** Who waits no longer than this has no need of a stream of its own, milliseconds. */
  soonMs: number
}

/** What readers want of a download. */
export class Demand {
  readonly #positions: () => readonly Position[]
  readonly #held: RangeSet
  readonly #segments: Segments
  readonly #soonMs: number

  constructor({ positions, held, segments, soonMs }: DemandDeps) {
    this.#positions = positions
    this.#held = held
    this.#segments = segments
    this.#soonMs = soonMs
  }

  /** Where readers wait. */
  get waiting(): number[] {
    return this.#positions().flatMap(({ position, waiting }) => (waiting ? [position] : []))
  }

  /** Where somebody waits and no stream will be soon. */
  get late(): number | undefined {
    return this.waiting.find((position) => this.isLate(position))
  }

  isLate(position: number): boolean {
    if (this.#held.endAt(position) > position || position >= this.#segments.size) return false
    const holder = this.#segments.holderOf(position)
    return !holder || this.#segments.msUntil(position, holder) > this.#soonMs
  }

  /** Those of the streams that have given something, and of which no reader wants more. */
  unwanted(streams: Iterable<ClaimStream>): ClaimStream[] {
    const followed = new Set(
      this.#positions().map(({ position }) => this.#segments.holderOf(this.#held.endAt(position))),
    )
    return [...streams].filter(({ claim, isOver }) => claim.bytes > 0 && !isOver && !followed.has(claim))
  }
}
