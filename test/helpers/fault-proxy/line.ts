import { setTimeout as sleep } from 'node:timers/promises'

/** The line behind an upstream: so many bytes a second for all its connections together (a token bucket). */
export class Line {
  /** Undefined: no limit. */
  bytesPerSecond: number | undefined
  #freeAt = 0

  /** Until so many bytes may go. */
  async pass(bytes: number, gone: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === undefined) return
    const now = performance.now()
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / this.bytesPerSecond) * 1000
    const waitMs = this.#freeAt - now
    if (waitMs > 1) await sleep(waitMs, undefined, { signal: gone })
  }
}
