import { LRUCache } from 'lru-cache'

const ADDRESSES = 10_000

export interface ThrottleDeps {
  /** Attempts that may fail one after the other without a wait. */
  allowance: number
  /** After so long one more may. */
  refillMs: number
  now: () => number
}

/** Counts what failed, by address, and forgets it as time passes. Of the last 10,000 addresses. */
export class Throttle {
  readonly #deps: ThrottleDeps
  /** What an address has to wait until nothing is held against it, milliseconds, at a moment. */
  readonly #debts = new LRUCache<string, { debtMs: number; at: number }>({ max: ADDRESSES })

  constructor(deps: ThrottleDeps) {
    this.#deps = deps
  }

  /** How long to wait before an attempt, milliseconds; 0: it may be made. */
  waitMs(address: string): number {
    const { allowance, refillMs } = this.#deps
    return Math.max(0, this.#debtMs(address) - (allowance - 1) * refillMs)
  }

  /** Counts a failure. */
  spend(address: string): void {
    this.#debts.set(address, { debtMs: this.#debtMs(address) + this.#deps.refillMs, at: this.#deps.now() })
  }

  #debtMs(address: string): number {
    const debt = this.#debts.get(address)
    // A clock that was set back must not lock anybody out for longer.
    return debt ? Math.max(0, debt.debtMs - Math.max(0, this.#deps.now() - debt.at)) : 0
  }
}
