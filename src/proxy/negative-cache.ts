import { LRUCache } from 'lru-cache'

const ENTRIES_LIMIT = 10_000

/** What an origin said does not exist, remembered for a while. */
export class NegativeCache {
  readonly #now: () => number
  readonly #ttlMs: number
  readonly #entries = new LRUCache<string, { error: unknown; until: number }>({ max: ENTRIES_LIMIT })

  constructor({ ttlMs, now }: { ttlMs: number; now: () => number }) {
    this.#ttlMs = ttlMs
    this.#now = now
  }

  /** @throws what `remember` was given for this key, while it holds */
  check(key: string): void {
    if (this.holds(key)) throw this.#entries.get(key)!.error
    this.#entries.delete(key)
  }

  /** Whether `check` throws. */
  holds(key: string): boolean {
    const entry = this.#entries.get(key)
    return entry !== undefined && this.#now() < entry.until && this.#now() >= entry.until - this.#ttlMs
  }

  forget(key: string): void {
    this.#entries.delete(key)
  }

  remember(key: string, error: unknown): void {
    if (this.#ttlMs > 0) this.#entries.set(key, { error, until: this.#now() + this.#ttlMs })
  }
}
