import type { UpstreamError } from './errors.js'
import { Lane } from './lane.js'
import type { Upstream } from './upstream.js'

/** All upstreams of one blob's transfer, in the order in which they are asked. */
export class Lanes {
  readonly #repository: string
  #lanes: Lane[] = []

  constructor({ repository }: { repository: string }) {
    this.#repository = repository
  }

  /** Adds those of them that are not here yet, after the others. */
  join(upstreams: readonly Upstream[]): void {
    const known = new Set(this.#lanes.map(({ upstream }) => upstream))
    for (const upstream of upstreams)
      if (!known.has(upstream)) this.#lanes.push(new Lane({ upstream, repository: this.#repository }))
  }

  /** Ends the use of all upstreams. */
  leave(): void {
    for (const { leave } of this.#lanes) leave()
  }

  /** There was progress: who had failed before it counts as one that has not. */
  forgive(): void {
    for (const lane of this.#lanes) lane.failures = 0
  }

  indexOf(lane: Lane): number {
    return this.#lanes.indexOf(lane)
  }

  /** Those under these names that have given something. */
  thatGave(names: readonly string[]): Lane[] {
    return this.#lanes.filter(({ name, answered }) => answered && names.includes(name))
  }

  /** From now on these come last, and of them origins before mirrors. */
  doubt(names: readonly string[]): void {
    const doubtOf = ({ name, upstream }: Lane) =>
      names.includes(name) ? (upstream.client.options.role === 'origin' ? 1 : 2) : 0
    this.#lanes = this.#lanes.toSorted((a, b) => doubtOf(a) - doubtOf(b))
  }

  /** Of those that can give one more stream at once the one that gives the fewest. @param name who it must be @param not who it must not be */
  spare({ name, not }: { name?: string | undefined; not?: string | undefined }): Lane | undefined {
    const spare = this.#lanes.filter((lane) => lane.name !== not && lane.name === (name ?? lane.name) && lane.isSpare)
    return spare.toSorted((a, b) => a.streams - b.streams)[0]
  }

  /** From now on it is asked only if nobody else can be. */
  outpaced(name: string): void {
    for (const lane of this.#lanes) lane.tooSlow ||= lane.name === name
  }

  /** Whether somebody else is worth leaving `lane` for. */
  better(lane: Lane): boolean {
    return this.#lanes.some((other) => other !== lane && !other.tooSlow && other.isUsable)
  }

  /** The lanes of one round that begins at `turn`: those that are usable or, if there are none, those left alone for now. */
  round(turn: number): Lane[] {
    const rotated = this.#lanes.map((_, index) => this.#lanes[(turn + index) % this.#lanes.length] as Lane)
    const open = rotated.filter(({ isDone }) => !isDone)
    const usable = open.filter(({ isUsable }) => isUsable)
    const lanes = usable.length > 0 ? usable : open
    const quick = lanes.filter(({ tooSlow }) => !tooSlow)
    // A place that is free now is worth more than a better one later.
    return [
      ...quick.filter(({ upstream }) => upstream.client.hasRoom),
      ...quick.filter(({ upstream }) => !upstream.client.hasRoom),
      ...lanes.filter(({ tooSlow }) => tooSlow),
    ]
  }

  /** Who was out of reach when it was asked last and is not asked now: worth it only where nobody else is left. */
  get outOfReach(): Lane | undefined {
    return this.#lanes.find(
      ({ isDone, isUsable, streams, upstream }) =>
        !isDone && !isUsable && streams === 0 && upstream.health.state === 'open',
    )
  }

  /** Nobody is left to ask; or those who can be asked do not have it, and the others are left alone for now. */
  get exhausted(): boolean {
    const left = this.#lanes.filter(({ isDone }) => !isDone)
    if (left.length === 0) return true
    const somebodySpoke = this.#lanes.some(
      ({ lastError }) => lastError?.kind === 'not-found' || lastError?.kind === 'denied',
    )
    return somebodySpoke && left.every(({ upstream, failures }) => failures === 0 && !upstream.health.usable())
  }

  /** What each said last. */
  get failures(): UpstreamError[] {
    return this.#lanes.map(({ lastError, upstream }) => lastError ?? upstream.health.skipped())
  }
}
