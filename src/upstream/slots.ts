import { FairQueue } from '../lib/fair-queue.js'
import type { Wanted } from './preference.js'

/**
 * The requests that one upstream is asked at a time, bodies included; the rest waits, first come, first served. A quarter
 * is kept from blobs, so that no manifest waits for the end of large ones.
 */
export class Slots {
  readonly #all: FairQueue
  readonly #blobs: FairQueue

  /** @param limit at least 1; a limit of 1 keeps nothing from blobs */
  constructor(limit: number) {
    this.#all = new FairQueue(limit)
    this.#blobs = new FairQueue(limit === 1 ? 1 : limit - Math.ceil(limit / 4))
  }

  /** Whether there is a place now. */
  hasRoom(wanted: Wanted): boolean {
    return !this.#all.isFull && (wanted === 'manifest' || !this.#blobs.isFull)
  }

  /** @returns what gives the place back. @throws the signal's reason when it aborts before there is one */
  async enter(wanted: Wanted, signal?: AbortSignal): Promise<() => void> {
    if (wanted === 'manifest') return this.#all.enter(signal)
    const leaveBlobs = await this.#blobs.enter(signal)
    try {
      const leave = await this.#all.enter(signal)
      return () => {
        leave()
        leaveBlobs()
      }
    } catch (error) {
      leaveBlobs()
      throw error
    }
  }
}
