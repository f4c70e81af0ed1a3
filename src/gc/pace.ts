import { setTimeout as rest } from 'node:timers/promises'

/** Of a slice, the part that is worked; the rest is everybody else's. */
const WORK_MS = 5
const REST_MS = 2

/** The server is stopping, and what was under way ends before it is done. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError'

  constructor() {
    super('the server was stopped')
  }
}

/** Holds background work back, so that requests are answered beside it. */
export class Pace {
  #sliceBegan = performance.now()
  #stopped = false

  /** To be called between two small pieces of work. @throws {StoppedError} after `stop` */
  async step(): Promise<void> {
    if (this.#stopped) throw new StoppedError()
    if (performance.now() - this.#sliceBegan < WORK_MS) return
    await rest(REST_MS)
    this.#sliceBegan = performance.now()
  }

  stop(): void {
    this.#stopped = true
  }
}
