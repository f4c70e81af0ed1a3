/** What a request is for: what is short (manifests, sizes, tags), or the bytes of a blob. */
export type Wanted = 'manifest' | 'blob'

/** One moving average. */
export interface Measure {
  value: number
  /** What it is founded on (moving-average.ts). */
  weight: number
}

/** What was measured of one upstream; `undefined` before the first sample. */
export interface Measured {
  /** milliseconds until good answers began */
  ttfbMs: Measure | undefined
  /** Of bodies; `undefined` also where it does not matter. */
  bytesPerSecond: Measure | undefined
  /** Share of failures among answers and failures, from 0 to 1. */
  errors: number
}

/** About three fresh samples. An upstream that is not asked falls below it after some minutes. */
const FOUNDED = 2
/** So many times better an upstream must be to overtake one that is configured before it, */
const BETTER = 1.5
/** and so many times better it must remain to stay ahead. */
const STILL_BETTER = 1.2
/** What upstreams are compared by: the time of so many bytes. */
const BYTES = 1024 * 1024
/** Added to every time: differences that nobody would notice do not count. */
const UNNOTICED_MS = 50
/** From here on it is worth finding out whether another one is quicker. */
const SLOW_MS = 200
/** One request in so many is such a trial. */
const TRIAL_EVERY = 4
/** An upstream's time is multiplied by at most this for its failures. */
const MOST_TRIES = 10

/**
 * In what order to ask: as configured, but for those that are clearly better than one before them; not for near-equals,
 * nor while little is known of either. Who is ahead stays there until something better is known, or it is clearly no longer.
 *
 * @param measured in the configured order
 * @param before the order given last, if any
 * @returns indices of `measured`
 */
export function preferenceOf(measured: readonly Measured[], before: readonly number[] = []): number[] {
  const left = measured.map((_, index) => index)
  const order: number[] = []
  while (left.length > 0) {
    const best = left.reduce((first, index) => {
      const [one, other] = [measured[index], measured[first]]
      const ahead = isAhead(before, index, first) ? isBetter(one, other, STILL_BETTER) : overtakes(one, other)
      return ahead ? index : first
    })
    order.push(best)
    left.splice(left.indexOf(best), 1)
  }
  return order
}

/**
 * Whom to ask first for once, because too little is known of it: one that is configured before the first, or anybody
 * while the first is slow; now and then, in turn.
 *
 * @param order those that can be asked, as `preferenceOf` has them
 * @param times how many requests there were before
 */
export function trialOf(order: readonly number[], measured: readonly Measured[], times: number): number | undefined {
  if (times % TRIAL_EVERY !== TRIAL_EVERY - 1) return undefined
  const [first = 0, ...others] = order
  const usual = measured[first]
  const isSlow = usual !== undefined && isFounded(usual.ttfbMs) && timeOf(usual, true) >= SLOW_MS
  const unknown = others.filter((index) => (isSlow || index < first) && isUnknown(measured[index], usual))
  return unknown[Math.floor(times / TRIAL_EVERY) % unknown.length]
}

function isAhead(before: readonly number[], one: number, other: number): boolean {
  return before.indexOf(one) < before.indexOf(other)
}

function overtakes(one: Measured | undefined, other: Measured | undefined): boolean {
  return isFounded(one?.ttfbMs) && isFounded(other?.ttfbMs) && isBetter(one, other, BETTER)
}

function isBetter(one: Measured | undefined, other: Measured | undefined, factor: number): boolean {
  if (!one || !other) return false
  const withRate = one.bytesPerSecond !== undefined && other.bytesPerSecond !== undefined
  return timeOf(other, withRate) > factor * timeOf(one, withRate)
}

/** Whether a trial would tell something. */
function isUnknown(one: Measured | undefined, first: Measured | undefined): boolean {
  return !isFounded(one?.ttfbMs) || (isFounded(first?.bytesPerSecond) && !isFounded(one?.bytesPerSecond))
}

function isFounded(measure: Measure | undefined): boolean {
  return measure !== undefined && measure.weight >= FOUNDED
}

/** Expected milliseconds, failures included. */
function timeOf({ ttfbMs, bytesPerSecond, errors }: Measured, withRate: boolean): number {
  const transfer = withRate && bytesPerSecond ? (BYTES * 1000) / Math.max(bytesPerSecond.value, 1) : 0
  return ((ttfbMs?.value ?? 0) + transfer + UNNOTICED_MS) / Math.max(1 - errors, 1 / MOST_TRIES)
}
