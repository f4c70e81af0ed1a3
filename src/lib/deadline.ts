/**
 * A timer that is not fooled by a busy process: when it runs out, what has arrived meanwhile is dealt with first, and only
 * if that neither cleared nor refreshed it does it tell.
 */
export class Deadline {
  readonly #timer: NodeJS.Timeout
  /** Counts refreshes, so that one between running out and telling is seen. */
  #epoch = 0

  /** Begins at once. */
  constructor(ms: number, expired: () => void) {
    this.#timer = setTimeout(() => {
      const epoch = this.#epoch
      // immediates come after the sockets have been read
      setImmediate(() => {
        if (this.#epoch === epoch) expired()
      })
    }, ms)
  }

  /** Begins anew, also after it has run out. */
  refresh(): void {
    this.#epoch++
    this.#timer.refresh()
  }

  clear(): void {
    this.#epoch++
    clearTimeout(this.#timer)
  }
}
