import { performance } from 'node:perf_hooks'

/** How busy this process's event loop is, from one asking to the next. */
export class EventLoopLoad {
  #last = performance.eventLoopUtilization()

  /** From 0, idle, to 1, without a pause, since it was asked last. */
  lately(): number {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#last)
    this.#last = now
    return utilization
  }
}
