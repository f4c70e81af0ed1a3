/** Exclusive by key: what runs under one key runs one after the other, in the order it was asked for. */
export class KeyedLock<Key> {
  readonly #tails = new Map<Key, Promise<unknown>>()

  /** Whether something runs under `key`. */
  busy(key: Key): boolean {
    return this.#tails.has(key)
  }

  async run<Result>(key: Key, work: () => Promise<Result>): Promise<Result> {
    const before = this.#tails.get(key)
    const mine = before ? before.then(work, work) : work()
    this.#tails.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#tails.get(key) === mine) this.#tails.delete(key)
    }
  }
}
