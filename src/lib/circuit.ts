export interface CircuitOptions {
  now: () => number
  /** Failures in a row that open it. */
  threshold: number
  /** How long it stays open the first time, milliseconds; doubled each time it opens again without having closed. */
  coolDownMs: number
  maxCoolDownMs: number
}

/**
 * Remembers whether something is worth trying. `closed`: yes. `open`: not now. `due`: the cool-down is over, and one
 * attempt may find out; what it says closes the circuit or opens it for longer. While open, further failures change nothing.
 */
export class Circuit {
  readonly #options: CircuitOptions
  #failures = 0
  /** Times it opened since it was last closed. */
  #opened = 0
  #openUntil = 0

  constructor(options: CircuitOptions) {
    this.#options = options
  }

  get state(): 'closed' | 'open' | 'due' {
    if (this.#opened === 0) return 'closed'
    return this.#options.now() < this.#openUntil ? 'open' : 'due'
  }

  /** When it is due, ms since the epoch; in the past when it is closed. */
  get openUntil(): number {
    return this.#openUntil
  }

  /** Closes it and forgets the failures. */
  succeed(): void {
    this.#failures = 0
    this.#opened = 0
  }

  /** Something answered, well or not: closes it if it was open, but forgets no failure of a closed one. */
  alive(): void {
    if (this.#opened > 0) this.succeed()
  }

  /** One failure; opens it when it is the last of too many, or due. */
  fail(): void {
    this.#failures++
    if (this.#failures >= this.#options.threshold || this.state === 'due') this.trip()
  }

  /** Opens it at once, unless it is open. */
  trip(): void {
    if (this.state === 'open') return
    const { now, coolDownMs, maxCoolDownMs } = this.#options
    this.#openUntil = now() + Math.min(coolDownMs * 2 ** this.#opened, maxCoolDownMs)
    this.#opened++
  }
}
