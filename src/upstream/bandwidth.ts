import { delay } from '../lib/abortable.js'

export interface BandwidthOptions {
  bytesPerSecond: number
  /** Monotonic milliseconds. */
  now: () => number
  /** Instead of a timer. */
  wait?: (ms: number, signal: AbortSignal | undefined) => Promise<void>
}

/** What may come at once after a pause: so much time's worth. */
const BURST_MS = 100

/** A cap on bytes that many transfers share: each pays for what has arrived before it reads on (a token bucket in debt). */
export class Bandwidth {
  readonly #bytesPerMs: number
  readonly #now: () => number
  readonly #wait: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  /** When all that has been read will have been paid for. */
  #paidAt = Number.NEGATIVE_INFINITY

  constructor({ bytesPerSecond, now, wait = delay }: BandwidthOptions) {
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#now = now
    this.#wait = wait
  }

  /** Waits until `bytes` that have arrived are within the cap. @throws the signal's reason */
  async pay(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const now = this.#now()
    this.#paidAt = Math.max(this.#paidAt, now - BURST_MS) + bytes / this.#bytesPerMs
    if (this.#paidAt > now) await this.#wait(this.#paidAt - now, signal)
  }
}
