import { setTimeout as rest } from 'node:timers/promises'

/** Of a slice, the part that is worked; the rest is everybody else's. */
const WORK_MS = 5
const REST_MS = 2
/** Of a run, what may be under way at a time: nearly all of it waits for the disk. */
const AT_ONCE = 8

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
  #resting: Promise<void> | undefined
  #stopped = false

  /** To be called between two small pieces of work. @throws {StoppedError} after `stop` */
  async step(): Promise<void> {
    if (this.#stopped) throw new StoppedError()
    if (performance.now() - this.#sliceBegan < WORK_MS) return
    // Whatever is under way rests together.
    this.#resting ??= rest(REST_MS).then(() => {
      this.#sliceBegan = performance.now()
      this.#resting = undefined
    })
    await this.#resting
  }

  /**
   * Runs `work`, a small piece, on each item, a few at a time, with a `step` before each.
   *
   * @returns the results in the order of the items
   * @throws the first failure, once nothing is under way any more; the items that are left are not begun
   */
  async each<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<Result[]> {
    const results = new Array<Result>(items.length)
    const failures: unknown[] = []
    let next = 0
    const lane = async () => {
      while (next < items.length && failures.length === 0) {
        const at = next++
        try {
          await this.step()
          results[at] = await work(items[at]!)
        } catch (error) {
          failures.push(error)
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    if (failures.length > 0) throw failures[0]
    return results
  }

  stop(): void {
    this.#stopped = true
  }
}
