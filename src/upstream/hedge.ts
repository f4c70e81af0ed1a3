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
  /** Called when the first is late: whom to ask beside it, if anybody. */
  second: () => Attempt<Answer> | undefined
  /** Lets go of a good answer that came second, where that holds something open. */
  discard?: (answer: Answer) => void
  signal: AbortSignal | undefined
}

/** At least so long an upstream is waited for, however quick it mostly is; and so long before anything is known of it. */
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
 * The first good answer of one or, when that is late, of two who are asked. The other is given up with an OutrunError.
 *
 * @returns undefined when all who were asked have failed
 * @throws what an attempt throws, at once; the other is given up
 */
export async function hedged<Answer>(options: HedgeOptions<Answer>): Promise<Answer | undefined> {
  const first = start(options.first, options.signal)
  const second = (await isLate(first, options.afterMs)) ? options.second() : undefined
  if (!second) return first.answer
  return firstGood([first, start(second, options.signal)], options.discard)
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

function firstGood<Answer>(
  attempts: readonly Running<Answer>[],
  discard: ((answer: Answer) => void) | undefined,
): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const pending = new Set(attempts)
    let over = false
    const end = (tell: () => void) => {
      over = true
      for (const other of pending) other.giveUp()
      tell()
    }
    for (const attempt of attempts) {
      attempt.answer.then(
        (answer) => {
          pending.delete(attempt)
          if (over) return answer === undefined ? undefined : discard?.(answer)
          if (answer !== undefined || pending.size === 0) end(() => resolve(answer))
        },
        (error: unknown) => {
          pending.delete(attempt)
          // How one that was given up ends is of no interest; before that, an error says that nobody else can answer.
          if (!over) end(() => reject(error))
        },
      )
    }
  })
}
