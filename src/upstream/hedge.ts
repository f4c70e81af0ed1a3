import { Deadline } from '../lib/deadline.js'
import { OutrunError } from './errors.js'

/**
 * Asks somebody; `undefined` when that failed, and nothing more need be said.
 *
 * @param begun to be called once the request is sent: waiting for a turn is not the upstream's delay
 */
export type Attempt<Answer> = (signal: AbortSignal, begun: () => void) => Promise<Answer | undefined>

export interface HedgeOptions<Answer> {
  first: Attempt<Answer>
  /** How long the first is waited for alone, milliseconds since it was sent. */
  afterMs: number
  /** Called when the latest that was asked is late, or has failed beside one that is: whom to ask beside them, if anybody. */
  next: () => Attempt<Answer> | undefined
  /** Lets go of a good answer that came too late, where that holds something open. */
  discard?: (answer: Answer) => void
  signal: AbortSignal | undefined
}

/**
 * At least so long an upstream is waited for, however quick it mostly is, and no longer once another was late: the
 * client has waited for that one already; and so long before anything is known of it.
 */
const LEAST_MS = 250
const UNKNOWN_MS = 1000
/** Times the usual, before it counts as late. */
const LATE = 3
const STEPS = 5

/** @param usualMs how long it mostly takes, if that is known */
export function hedgeDelay(usualMs: number | undefined): number {
  return usualMs === undefined ? UNKNOWN_MS : Math.max(LEAST_MS, usualMs * LATE)
}

/**
 * The first good answer of one or, when that is late, of several who are asked, one after the other without waiting for
 * the end of any. The others are given up with an OutrunError.
 *
 * @returns undefined when all who were asked have failed
 * @throws what an attempt throws, at once; the others are given up
 */
export async function hedged<Answer>({ signal, ...options }: HedgeOptions<Answer>): Promise<Answer | undefined> {
  const first = start(options.first, signal)
  if (!(await isLate(first, options.afterMs))) return first.answer
  const race = new Race(options.discard)
  race.enter(first)
  while (!race.over) {
    const attempt = options.next()
    if (!attempt) break
    const another = start(attempt, signal)
    race.enter(another)
    await Promise.race([race.answer, isLate(another, LEAST_MS)])
  }
  return race.answer
}

interface Running<Answer> {
  answer: Promise<Answer | undefined>
  begun: Promise<void>
  giveUp: () => void
}

function start<Answer>(attempt: Attempt<Answer>, signal: AbortSignal | undefined): Running<Answer> {
  const leaving = new AbortController()
  const either = signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal
  let begin = () => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  return {
    answer: attempt(either, begin),
    begun,
    giveUp: () => leaving.abort(new OutrunError('another upstream was quicker')),
  }
}

/** The time is taken in steps, of which a process that stands still misses one: the delay was its own. */
async function isLate({ answer, begun }: Running<unknown>, afterMs: number): Promise<boolean> {
  const settled = answer.then(
    () => true,
    () => true,
  )
  if (await Promise.race([settled, begun.then(() => false)])) return false
  for (let step = 0; step < STEPS; step++) {
    if (await isWithin(settled, afterMs / STEPS)) return false
  }
  return true
}

function isWithin(settled: Promise<boolean>, ms: number): Promise<boolean> {
  let limit: Deadline | undefined
  const late = new Promise<boolean>((resolve) => {
    limit = new Deadline(ms, () => resolve(false))
  })
  return Promise.race([settled, late]).finally(() => limit?.clear())
}

/** Those who run at once, for one good answer. */
class Race<Answer> {
  /** Resolves with the first good one, with undefined once all have failed; rejects with what one of them throws. */
  readonly answer: Promise<Answer | undefined>
  over = false
  readonly #discard: ((answer: Answer) => void) | undefined
  readonly #pending = new Set<Running<Answer>>()
  #resolve!: (answer: Answer | undefined) => void
  #reject!: (error: unknown) => void

  constructor(discard: ((answer: Answer) => void) | undefined) {
    this.#discard = discard
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  enter(running: Running<Answer>): void {
    this.#pending.add(running)
    running.answer.then(
      (answer) => this.#answered(running, answer),
      (error: unknown) => {
        this.#pending.delete(running)
        // How one that was given up ends is of no interest; before that, an error says that nobody else can answer.
        if (!this.over) this.#end(() => this.#reject(error))
      },
    )
  }

  #answered(running: Running<Answer>, answer: Answer | undefined): void {
    this.#pending.delete(running)
    if (this.over) {
      if (answer !== undefined) this.#discard?.(answer)
    } else if (answer !== undefined || this.#pending.size === 0) this.#end(() => this.#resolve(answer))
  }

  #end(tell: () => void): void {
    this.over = true
    for (const other of this.#pending) other.giveUp()
    tell()
  }
}
