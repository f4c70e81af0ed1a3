/** Whole numbers from `from` up to and without `to`. */
export interface Span {
  from: number
  to: number
}

/** A set of whole numbers, kept as disjoint spans in order. */
export class RangeSet {
  #spans: Span[] = []
  #size = 0

  constructor(spans: Iterable<Span> = []) {
    for (const { from, to } of spans) this.add(from, to)
  }

  /** How many numbers are in it. */
  get size(): number {
    return this.#size
  }

  get spans(): readonly Span[] {
    return this.#spans
  }

  add(from: number, to: number): void {
    if (to <= from) return
    const first = this.#after((span) => span.to < from)
    const rest = this.#after((span) => span.from <= to)
    const touched = this.#spans.slice(first, rest)
    const merged = { from: Math.min(from, touched[0]?.from ?? from), to: Math.max(to, touched.at(-1)?.to ?? to) }
    this.#spans.splice(first, touched.length, merged)
    this.#size += lengthOf(merged) - touched.reduce((sum, span) => sum + lengthOf(span), 0)
  }

  /** Where the span that holds `position` ends; `position` itself where none does. */
  endAt(position: number): number {
    const span = this.#spans[this.#after(({ from }) => from <= position) - 1]
    return span && span.to > position ? span.to : position
  }

  /** Where the first span after `position` begins; infinity where none does. */
  nextAfter(position: number): number {
    return this.#spans[this.#after(({ from }) => from <= position)]?.from ?? Number.POSITIVE_INFINITY
  }

  /** Takes out everything from `position` on. */
  cutAt(position: number): void {
    const kept = this.#spans.slice(
      0,
      this.#after(({ from }) => from < position),
    )
    this.clear()
    for (const { from, to } of kept) this.add(from, Math.min(to, position))
  }

  clear(): void {
    this.#spans = []
    this.#size = 0
  }

  /** The index of the first span for which `isBefore`, which holds for a beginning of them, does not. */
  #after(isBefore: (span: Span) => boolean): number {
    let low = 0
    let high = this.#spans.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBefore(this.#spans[middle] as Span)) low = middle + 1
      else high = middle
    }
    return low
  }
}

const lengthOf = ({ from, to }: Span) => to - from
