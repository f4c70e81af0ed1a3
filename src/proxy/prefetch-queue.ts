import type { Logger } from 'pino'

export interface PrefetchQueueDeps {
  /** Pieces of work at once; asked like `mayStart`. */
  concurrency: () => number
  /** Whether there is room beside what clients wait for; asked before each piece of work begins. */
  mayStart: () => boolean
  log: Logger
}

/** What waits at most, in pieces of work: what was asked for long ago is the least likely to help anybody. */
const WAITING_LIMIT = 256

/**
 * Work that nobody waits for, for all registries: first come, first served, a bounded number at once, and none begins
 * while clients need the line. When too much waits, the oldest is dropped.
 */
export class PrefetchQueue {
  readonly #deps: PrefetchQueueDeps
  readonly #log: Logger
  readonly #waiting = new Map<string, () => Promise<void>>()
  readonly #running = new Set<string>()
  #stopped = false

  constructor(deps: PrefetchQueueDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'prefetch' })
  }

  /** Takes work that is not waiting or running under this key already. What it throws is logged. */
  add(key: string, work: () => Promise<void>): void {
    if (this.#stopped || this.#running.has(key) || this.#waiting.has(key)) return
    this.#waiting.set(key, work)
    const [oldest] = this.#waiting.keys()
    if (this.#waiting.size > WAITING_LIMIT) this.#waiting.delete(oldest!)
    this.wake()
  }

  /** Begins what may begin: to be called whenever `mayStart` may have changed its mind. */
  wake(): void {
    for (const [key, work] of this.#waiting) {
      if (this.#running.size >= this.#deps.concurrency() || !this.#deps.mayStart()) return
      this.#waiting.delete(key)
      this.#running.add(key)
      void this.#run(key, work)
    }
  }

  /** Drops what waits and takes no more; what runs ends with the downloads and connections that it uses. */
  stop(): void {
    this.#stopped = true
    this.#waiting.clear()
  }

  async #run(key: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      // Whoever asks for it in earnest is told, and that is logged.
      this.#log.debug({ key, reason: (error as Error).message }, 'not fetched ahead')
    } finally {
      this.#running.delete(key)
      this.wake()
    }
  }
}
