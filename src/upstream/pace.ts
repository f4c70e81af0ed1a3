import { UpstreamError } from './errors.js'

export interface PaceOptions {
  upstream: string
  /** Above 0. */
  minBytesPerSecond: number
  /** Over how much waiting it is measured, milliseconds. */
  windowMs: number
  /** Whether there is somewhere better to go; asked only when it is too slow. */
  mayLeave: () => boolean
}

/**
 * Whether a body comes at a minimum rate, window by window. Only the time spent waiting for bytes counts, so that a
 * reader who holds back slows nobody down. Silence is not its business: it is told when bytes come.
 */
export class Pace {
  readonly #options: PaceOptions
  #bytes = 0
  #waitedMs = 0

  constructor(options: PaceOptions) {
    this.#options = options
  }

  /** @throws {UpstreamError} `slow`, trickling, when a window has ended below the rate and it may leave */
  arrived(bytes: number, waitedMs: number): void {
    this.#bytes += bytes
    this.#waitedMs += waitedMs
    const { upstream, minBytesPerSecond, windowMs, mayLeave } = this.#options
    if (this.#waitedMs < windowMs) return
    const rate = (this.#bytes * 1000) / this.#waitedMs
    this.#bytes = 0
    this.#waitedMs = 0
    if (rate >= minBytesPerSecond || !mayLeave()) return
    const message = `${Math.round(rate)} bytes a second, less than ${minBytesPerSecond}`
    throw new UpstreamError('slow', message, { upstream, trickling: true })
  }
}
