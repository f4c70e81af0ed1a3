import type { Logger } from 'pino'
import { Periodic } from '../lib/periodic.js'
import { type Collector, GcBusyError } from './collector.js'

const LOOK_EVERY_MS = 60_000
/** In the index: when the first run began to be waited for. */
const SINCE = 'gc.since'

export interface GcScheduleDeps {
  collector: Collector
  /** Small values that survive a restart. */
  values: { getValue(name: string): string | undefined; setValue(name: string, value: string): void }
  /** From the beginning of one run to that of the next, in ms; 0: never. Asked again and again. */
  everyMs: () => number
  log: Logger
  now: () => number
}

/** Begins a garbage collection whenever the last one is long enough ago, restarts in between or not. */
export class GcSchedule {
  readonly #deps: GcScheduleDeps
  readonly #looking: Periodic

  constructor(deps: GcScheduleDeps) {
    this.#deps = deps
    this.#looking = new Periodic({
      everyMs: LOOK_EVERY_MS,
      work: () => this.look(),
      onError: (err) => deps.log.error({ module: 'gc', err }, 'the garbage collection could not be begun'),
    })
  }

  start(): this {
    this.#looking.start()
    return this
  }

  /** Stop the collector first: a run under way is waited for. */
  stop(): Promise<void> {
    return this.#looking.stop()
  }

  /** Runs one if it is due. */
  async look(): Promise<void> {
    const { collector, everyMs, now } = this.#deps
    if (everyMs() === 0) return
    const age = now() - this.#lastAt()
    // One that lies ahead was written down when the clock was wrong.
    if (age >= 0 && age < everyMs()) return
    try {
      await collector.collect({ dryRun: false })
    } catch (error) {
      // Somebody asked for one a moment ago.
      if (!(error instanceof GcBusyError)) throw error
    }
  }

  #lastAt(): number {
    const { collector, values, now } = this.#deps
    const known = collector.last?.startedAt ?? values.getValue(SINCE)
    if (known !== undefined) return Number(known)
    values.setValue(SINCE, String(now()))
    return now()
  }
}
