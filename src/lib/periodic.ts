import { Complaint } from './complaint.js'

/** Does one thing again and again, never twice at once; the pause is counted from the end of each run. */
export class Periodic {
  readonly #everyMs: number
  readonly #work: () => Promise<void> | void
  readonly #onError: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #stopped = false
  readonly #failing = new Complaint()

  constructor({
    everyMs,
    work,
    onError,
  }: { everyMs: number; work: () => Promise<void> | void; onError: (error: unknown) => void }) {
    this.#everyMs = everyMs
    this.#work = work
    this.#onError = onError
  }

  start(): this {
    this.#schedule()
    return this
  }

  /** No run begins after this; waits for the one under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.#running = this.#run().finally(() => this.#schedule())
    }, this.#everyMs)
    this.#timer.unref()
  }

  async #run(): Promise<void> {
    try {
      await this.#work()
      this.#failing.over()
    } catch (error) {
      // A full disk fails every run alike: it is told once, and again when it has been well in between.
      if (this.#failing.raise()) this.#onError(error)
    }
  }
}
