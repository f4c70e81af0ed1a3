import type { EventBus } from '../events.js'
import type { UpstreamError } from './errors.js'
import { MovingAverage } from './moving-average.js'
import type { Measure, Measured, Wanted } from './preference.js'

export interface TrafficOptions {
  registry: string
  upstream: string
  events: EventBus
  now: () => number
  /** What an earlier one of this name has counted, to be counted on; from 0 when left out. */
  counts?: TrafficCounts | undefined
}

/** What went to and came from one upstream since the start. */
export interface TrafficCounts {
  /** Requests sent, answered or not; challenges and redirects on the way to an answer are part of it. */
  requests: number
  /** Failures other than `not-found`: of requests, and of bodies that broke off. */
  errors: number
  /** of bodies, as they arrived */
  bytes: number
}

export interface TrafficFigures extends TrafficCounts {
  /** moving averages; 0 before the first */
  ttfbMs: number
  bytesPerSecond: number
}

/** Bodies below this say more of the latency than of the bandwidth, */
const RATE_SAMPLE_BYTES = 64 * 1024
/** unless they took as long as this. */
const RATE_SAMPLE_MS = 2000
/** So many good answers are taken for granted, so that one failure moves nobody. */
const GOODWILL = 2
/** Failures that speak against asking it first; the others are dealt with where they arise. */
const FAULTS = new Set(['down', 'slow', 'lying'])

/** Counts one upstream's traffic and tells it as events. */
export class Traffic {
  readonly #subject: { registry: string; upstream: string }
  readonly #events: EventBus
  readonly #counts: TrafficCounts
  readonly #ttfbMs: MovingAverage
  /** Of answers that were good, so that nobody is preferred for being quick to refuse. */
  readonly #goodMs: Record<Wanted, MovingAverage>
  readonly #bytesPerSecond: MovingAverage
  readonly #faults: MovingAverage
  #everAnswered = false
  #everOutrun = false

  constructor({ registry, upstream, events, now, counts = noTraffic() }: TrafficOptions) {
    this.#subject = { registry, upstream }
    this.#events = events
    this.#counts = counts
    this.#ttfbMs = new MovingAverage(now)
    this.#goodMs = { manifest: new MovingAverage(now), blob: new MovingAverage(now) }
    this.#bytesPerSecond = new MovingAverage(now)
    this.#faults = new MovingAverage(now)
  }

  requested(): void {
    this.#counts.requests++
  }

  /** Whether all that is known of it is that others were quicker. */
  get onlyOutrun(): boolean {
    return this.#everOutrun && !this.#everAnswered
  }

  answered(status: number, ttfbMs: number, wanted: Wanted): void {
    this.#everAnswered = true
    this.#ttfbMs.add(ttfbMs)
    if (status < 300) this.#goodMs[wanted].add(ttfbMs)
    this.#faults.add(0)
    this.#events.emit('upstream.answered', { ...this.#subject, status, ttfbMs })
  }

  /** It was given up after so long because another one was quicker: no fault, but it takes at least so long. */
  outrun(afterMs: number, wanted: Wanted): void {
    this.#everOutrun = true
    this.#ttfbMs.add(afterMs)
    this.#goodMs[wanted].add(afterMs)
  }

  received(bytes: number, durationMs: number): void {
    if (bytes === 0) return
    this.#counts.bytes += bytes
    if (bytes >= RATE_SAMPLE_BYTES || durationMs >= RATE_SAMPLE_MS) {
      this.#bytesPerSecond.add((bytes * 1000) / Math.max(durationMs, 1))
    }
    this.#events.emit('upstream.received', { ...this.#subject, bytes, durationMs })
  }

  failed({ kind, message }: UpstreamError): void {
    if (kind === 'not-found') return
    this.#counts.errors++
    if (FAULTS.has(kind)) this.#faults.add(1)
    this.#events.emit('upstream.failed', { ...this.#subject, kind, reason: message })
  }

  /** What its place in the order is decided by. */
  measured(wanted: Wanted): Measured {
    return {
      ttfbMs: measureOf(this.#goodMs[wanted]),
      bytesPerSecond: wanted === 'blob' ? measureOf(this.#bytesPerSecond) : undefined,
      errors: ((this.#faults.value ?? 0) * this.#faults.weight) / (this.#faults.weight + GOODWILL),
    }
  }

  figures(): TrafficFigures {
    return {
      ...this.#counts,
      ttfbMs: Math.round(this.#ttfbMs.value ?? 0),
      bytesPerSecond: Math.round(this.#bytesPerSecond.value ?? 0),
    }
  }
}

export function noTraffic(): TrafficCounts {
  return { requests: 0, errors: 0, bytes: 0 }
}

function measureOf({ value, weight }: MovingAverage): Measure | undefined {
  return value === undefined ? undefined : { value, weight }
}
