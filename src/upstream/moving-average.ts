/** How much the newest sample weighs in the long run. */
const WEIGHT = 0.2
/** In so long what was measured comes to count half. */
const HALF_LIFE_MS = 5 * 60_000

/** A mean in which the newest samples count most, and which counts for less the older it gets. */
export class MovingAverage {
  readonly #now: () => number
  #sum = 0
  #weight = 0
  #at = 0

  /** @param now milliseconds */
  constructor(now: () => number) {
    this.#now = now
  }

  /** `undefined` before the first sample; age does not change it. */
  get value(): number | undefined {
    return this.#weight === 0 ? undefined : this.#sum / this.#weight
  }

  /** How much it is founded on: 1 for one fresh sample, about 2.4 for three, never above 5; halves in five minutes. */
  get weight(): number {
    return this.#weight * 0.5 ** (Math.max(this.#now() - this.#at, 0) / HALF_LIFE_MS)
  }

  add(sample: number): void {
    const value = this.value ?? 0
    const kept = this.weight * (1 - WEIGHT)
    this.#sum = value * kept + sample
    this.#weight = kept + 1
    this.#at = this.#now()
  }
}
