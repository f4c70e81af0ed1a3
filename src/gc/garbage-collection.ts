import { Collector, type CollectorDeps, type GcPolicy } from './collector.js'
import { GcSchedule } from './schedule.js'

export interface GarbageCollectionDeps extends CollectorDeps {
  policy: () => GcPolicy & {
    /** From the beginning of one run to that of the next, in ms; 0: never by itself. */
    everyMs: number
  }
}

/** The collector, and when it runs by itself. */
export class GarbageCollection {
  readonly collector: Collector
  readonly #schedule: GcSchedule

  constructor(deps: GarbageCollectionDeps) {
    const { index, policy, log, now } = deps
    this.collector = new Collector(deps)
    const everyMs = () => policy().everyMs
    this.#schedule = new GcSchedule({ collector: this.collector, values: index, everyMs, log, now })
  }

  start(): void {
    this.#schedule.start()
  }

  /** Ends the run under way, which leaves the rest to the next one. */
  async stop(): Promise<void> {
    await this.collector.stop()
    await this.#schedule.stop()
  }
}
