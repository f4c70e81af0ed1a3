/** Lets a bounded number in at a time, in the order in which they came. Who no longer wants to leaves the queue at once. */
export class FairQueue {
  readonly #limit: number
  #inside = 0
  /** In order; each lets one in. */
  readonly #waiting = new Set<() => void>()

  /** @param limit at least 1 */
  constructor(limit: number) {
    this.#limit = limit
  }

  get inside(): number {
    return this.#inside
  }

  get isFull(): boolean {
    return this.#inside >= this.#limit
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Waits for a place.
   *
   * @returns what gives the place back; calling it again does nothing
   * @throws the signal's reason when it aborts before
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.#inside < this.#limit) this.#inside++
    else await this.#wait(signal)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#leave()
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#waiting.delete(letIn)
        reject(signal?.reason)
      }
      const letIn = () => {
        signal?.removeEventListener('abort', giveUp)
        resolve()
      }
      signal?.addEventListener('abort', giveUp, { once: true })
      this.#waiting.add(letIn)
    })
  }

  /** The place goes straight to the next one, so that nobody who comes at this moment is before it. */
  #leave(): void {
    const [next] = this.#waiting
    if (!next) {
      this.#inside--
      return
    }
    this.#waiting.delete(next)
    next()
  }
}
