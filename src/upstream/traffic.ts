import type { EventBus } from '../events.js'
import type { UpstreamError } from './errors.js'

export interface TrafficOptions {
  registry: string
  upstream: string
  events: EventBus
}

/** What went to and came from one upstream since the start. */
export interface TrafficFigures {
  /** Requests sent, answered or not; challenges and redirects on the way to an answer are part of it. */
  requests: number
  /** Failures other than `not-found`: of requests, and of bodies that broke off. */
  errors: number
  /** of bodies, as they arrived */
  bytes: number
  /** moving averages; 0 before the first */
  ttfbMs: number
  bytesPerSecond: number
}

/** How much the newest measurement weighs in a moving average. */
const WEIGHT = 0.2
/** Bodies below this say more of the latency than of the bandwidth. */
const RATE_SAMPLE_BYTES = 64 * 1024

/** Counts one upstream's traffic and tells it as events. */
export class Traffic {
  readonly #subject: { registry: string; upstream: string }
  readonly #events: EventBus
  #requests = 0
  #errors = 0
  #bytes = 0
  #ttfbMs: number | undefined
  #bytesPerSecond: number | undefined

  constructor({ registry, upstream, events }: TrafficOptions) {
    this.#subject = { registry, upstream }
    this.#events = events
  }

  requested(): void {
    this.#requests++
  }

  answered(status: number, ttfbMs: number): void {
    this.#ttfbMs = average(this.#ttfbMs, ttfbMs)
    this.#events.emit('upstream.answered', { ...this.#subject, status, ttfbMs })
  }

  received(bytes: number, durationMs: number): void {
    if (bytes === 0) return
    this.#bytes += bytes
    if (bytes >= RATE_SAMPLE_BYTES) {
      this.#bytesPerSecond = average(this.#bytesPerSecond, (bytes * 1000) / Math.max(durationMs, 1))
    }
    this.#events.emit('upstream.received', { ...this.#subject, bytes, durationMs })
  }

  failed({ kind, message }: UpstreamError): void {
    if (kind === 'not-found') return
    this.#errors++
    this.#events.emit('upstream.failed', { ...this.#subject, kind, reason: message })
  }

  figures(): TrafficFigures {
    return {
      requests: this.#requests,
      errors: this.#errors,
      bytes: this.#bytes,
      ttfbMs: Math.round(this.#ttfbMs ?? 0),
      bytesPerSecond: Math.round(this.#bytesPerSecond ?? 0),
    }
  }
}

function average(before: number | undefined, sample: number): number {
  return before === undefined ? sample : before + WEIGHT * (sample - before)
}
