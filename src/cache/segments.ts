import type { RangeSet, Span } from '../lib/range-set.js'

/** A span of a blob that one stream is fetching: from `at`, the next byte that it will get, up to and without `to`. */
export interface Claim {
  at: number
  /** May become less while the stream runs: the rest is another's. */
  to: number
  /** Bytes that it has got. */
  bytes: number
  /** When its stream began; milliseconds. */
  beganAt: number
  /** Of the time since then, what was spent putting down what had come: not its upstream's. */
  heldUpMs: number
  /** Since when it puts something down; `undefined` while it waits for its upstream. */
  heldUpSince: number | undefined
  /** How often it was looked at since its last byte; far below 0 while what it got is being put down. */
  quietLooks: number
}

export interface SegmentsOptions {
  /** What is here. */
  held: RangeSet
  segmentBytes: number
  now: () => number
}

/** Less than this is not worth a request of its own. */
const LEAST_BYTES = 256 * 1024
/** A stream without a byte for so many looks stands still: looks and not time, since a process that is held up itself misses them. */
const SILENT_LOOKS = 30
/** A stream is relieved of work that it would need longer than this for. */
const LONG_MS = 1000
/** A stream that is broken off loses what is on its way, about so much of its time: for less than this share of the blob it is done, */
const LOST_MS = 500
const LOST_SHARE = 0.01
/** or where it would need so long. */
const WORTH_BREAKING_MS = 3000
/** A long stream is judged by no less than so much of it: how it begins says little. */
const JUDGED_MS = 500
/** A rate is not known before. */
const MEASURED_MS = 50

/**
 * Who fetches which part of a blob. Every byte belongs to one stream at most, so each is fetched once; a stream gets work
 * up to the end of a segment, the lowest first, and where nothing is left it relieves the one that would need longest.
 */
export class Segments {
  readonly #held: RangeSet
  readonly #segmentBytes: number
  readonly #now: () => number
  readonly #claims = new Set<Claim>()
  /** Of the stream that ended last, bytes a millisecond. */
  #lastRate = Number.POSITIVE_INFINITY
  #size = Number.POSITIVE_INFINITY

  constructor({ held, segmentBytes, now }: SegmentsOptions) {
    this.#held = held
    this.#segmentBytes = segmentBytes
    this.#now = now
  }

  get claims(): ReadonlySet<Claim> {
    return this.#claims
  }

  /** Of the blob, in bytes; infinity until it is known. */
  get size(): number {
    return this.#size
  }

  set size(bytes: number) {
    this.#size = bytes
    for (const claim of this.#claims) claim.to = Math.min(claim.to, bytes)
  }

  /** Of all streams together, bytes a millisecond; infinity while it is not known. */
  get rate(): number {
    const measured = [...this.#claims].filter((claim) => this.#isMeasured(claim))
    const rate = measured.reduce((sum, claim) => sum + this.#rateOf(claim), 0)
    const each = measured.length > 0 ? rate / measured.length : this.#lastRate
    return each * Math.max(this.#claims.size, 1)
  }

  /** How long what is missing will take at the rate of now; 0 while no rate is known. */
  get remainingMs(): number {
    return (this.#size - this.#held.size) / this.rate
  }

  /** All that is missing and nobody's from `position` on, or else from the beginning, in one piece. */
  claimRest(position: number): Claim | undefined {
    return this.#claim(this.#gap(position) ?? this.#gap(0))
  }

  /** The same, up to the end of its segment. */
  claimFrom(position: number): Claim | undefined {
    return this.#claim(this.#withinSegment(this.#gap(position) ?? this.#gap(0)))
  }

  /** Lets a claim have what follows it and is nobody's. */
  extend(claim: Claim): void {
    const gap = this.#gap(claim.to)
    if (gap?.from === claim.to) claim.to = gap.to
  }

  /** The lowest segment that is missing and nobody's; of one that a stream has beyond its segment otherwise. */
  claimSegment(): Claim | undefined {
    return this.#claim(this.#withinSegment(this.#gap(0) ?? this.#narrowed()))
  }

  /** What a reader waits for at `position`, up to the end of its segment; taken from a stream that will be there late. */
  claimAt(position: number): Claim | undefined {
    const holder = this.holderOf(position)
    if (!holder) {
      const gap = this.#gap(position)
      return gap?.from === position ? this.#claim(this.#withinSegment(gap)) : undefined
    }
    const { to } = holder
    holder.to = position
    return this.#claim(this.#withinSegment({ from: position, to }))
  }

  /** The second half of what the slowest stream would need long for; all of it where that stands still. */
  claimHalf(): { claim: Claim; of: Claim } | undefined {
    const [of] = [...this.#claims]
      .filter((claim) => claim.to - claim.at >= 2 * LEAST_BYTES && this.#isWorthBreaking(claim))
      .sort((a, b) => this.#msLeft(b) - this.#msLeft(a))
    if (!of) return undefined
    const from = of.at + Math.floor((of.to - of.at) / 2)
    const claim = this.#claim({ from, to: of.to })
    of.to = from
    return claim && { claim, of }
  }

  /** All that is left of a stream that stands still. */
  claimOf(silent: Claim): Claim | undefined {
    const { at, to } = silent
    silent.to = at
    return this.#claim({ from: at, to })
  }

  /** Whether a stream stands still; called at each look. */
  isSilent(claim: Claim): boolean {
    return ++claim.quietLooks > SILENT_LOOKS
  }

  /** Whose stream will come to `position`. */
  holderOf(position: number): Claim | undefined {
    return [...this.#claims].find(({ at, to }) => at <= position && position < to)
  }

  /** How long until the stream will have come to `position`. */
  msUntil(position: number, holder: Claim): number {
    return position === holder.at ? 0 : (position - holder.at) / this.#rateOf(holder)
  }

  /** The stream of a claim has begun. */
  begun(claim: Claim): void {
    claim.beganAt = this.#now()
    claim.heldUpMs = 0
    claim.quietLooks = 0
  }

  arrived(claim: Claim, bytes: number): void {
    claim.at += bytes
    claim.bytes += bytes
    claim.heldUpSince = this.#now()
    claim.quietLooks = Number.NEGATIVE_INFINITY
  }

  /** What arrived has been put down: from now on it waits for its upstream. */
  awaited(claim: Claim): void {
    claim.heldUpMs += this.#now() - (claim.heldUpSince ?? this.#now())
    claim.heldUpSince = undefined
    claim.quietLooks = 0
  }

  /** Its stream has ended: what it has not got is nobody's. */
  release(claim: Claim): void {
    if (claim.bytes > 0) this.#lastRate = claim.bytes / this.#waitedMs(claim)
    this.#claims.delete(claim)
  }

  #claim(span: Span | undefined): Claim | undefined {
    if (!span || span.from >= span.to) return undefined
    const { from: at, to } = span
    const claim = { at, to, bytes: 0, beganAt: this.#now(), heldUpMs: 0, heldUpSince: undefined, quietLooks: 0 }
    this.#claims.add(claim)
    return claim
  }

  /** The first span from `position` on that is missing and nobody's. */
  #gap(position: number): Span | undefined {
    let from = position
    for (;;) {
      const beyond = this.holderOf(from)?.to ?? this.#held.endAt(from)
      if (beyond === from) break
      from = beyond
    }
    if (from >= this.#size) return undefined
    const claimed = [...this.#claims].map(({ at }) => at).filter((at) => at > from)
    return { from, to: Math.min(this.#held.nextAfter(from), this.#size, ...claimed) }
  }

  #withinSegment(span: Span | undefined): Span | undefined {
    return span && { from: span.from, to: Math.min(span.to, this.#boundaryAfter(span.from)) }
  }

  /** Leaves the longest claim the segment that it is in, if it has more than that and would need long for it. */
  #narrowed(): Span | undefined {
    const [longest] = [...this.#claims].sort((a, b) => b.to - b.at - (a.to - a.at))
    if (!longest || this.#now() - longest.beganAt < JUDGED_MS || !this.#isWorthBreaking(longest)) return undefined
    const from = this.#boundaryAfter(longest.at)
    if (longest.to - from < LEAST_BYTES) return undefined
    const { to } = longest
    longest.to = from
    return { from, to }
  }

  /** The end of the segment that `position` is in; of the next one where little is left of it. */
  #boundaryAfter(position: number): number {
    const least = position + this.#segmentBytes / 4
    return Math.min(Math.ceil(least / this.#segmentBytes) * this.#segmentBytes, this.#size)
  }

  #msLeft(claim: Claim): number {
    const rate = this.#rateOf(claim)
    return claim.to === claim.at ? 0 : (claim.to - claim.at) / rate
  }

  #isWorthBreaking(claim: Claim): boolean {
    const msLeft = this.#msLeft(claim)
    const lost = this.#rateOf(claim) * LOST_MS
    return msLeft > WORTH_BREAKING_MS || (msLeft > LONG_MS && lost <= this.#size * LOST_SHARE)
  }

  /** How long it has waited for its upstream since it began. */
  #waitedMs({ beganAt, heldUpMs, heldUpSince }: Claim): number {
    const now = this.#now()
    return Math.max(now - beganAt - heldUpMs - (now - (heldUpSince ?? now)), 1)
  }

  #isMeasured({ beganAt }: Claim): boolean {
    return this.#now() - beganAt >= MEASURED_MS
  }

  /** Bytes a millisecond; before it is measured a stream counts as quick, so that nobody comes to its help. */
  #rateOf(claim: Claim): number {
    return this.#isMeasured(claim) ? claim.bytes / this.#waitedMs(claim) : Number.POSITIVE_INFINITY
  }
}
