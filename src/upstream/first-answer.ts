import { delay } from '../lib/abortable.js'
import type { Repository } from '../oci/reference.js'
import { AllUpstreamsFailedError, RefusedAnswerError, UpstreamError } from './errors.js'
import { hedgeDelay, hedged } from './hedge.js'
import { type Upstream, worthATry } from './upstream.js'

export interface Inquiry<Answer> {
  repository: Repository
  /** In the order in which they are to be asked. */
  candidates: readonly Upstream[]
  /** `begun` is to be called once the request is sent. */
  ask: (upstream: Upstream, signal: AbortSignal | undefined, begun: () => void) => Promise<Answer>
  /** Whether an origin's not-found ends it. */
  final: boolean
  /** Those who may be asked beside others that are late: their answers are worth the same. */
  equals: readonly Upstream[]
  signal: AbortSignal | undefined
}

/** Where there is nobody else, one who has failed in passing is asked again after each of these. */
const PAUSES_MS = [250, 500]

/**
 * As `answerOfRound`; where there is only one to ask, and it failed as one does that is there and may work again at once,
 * up to twice more.
 */
export async function firstAnswer<Answer>(inquiry: Inquiry<Answer> & { alone: boolean }): Promise<Answer> {
  for (const pauseMs of inquiry.alone ? PAUSES_MS : []) {
    try {
      return await answerOfRound(inquiry)
    } catch (error) {
      if (!isPassing(error) || !inquiry.candidates.every(({ health }) => health.usable())) throw error
      await delay(pauseMs, inquiry.signal)
    }
  }
  return answerOfRound(inquiry)
}

function isPassing(error: unknown): boolean {
  return error instanceof AllUpstreamsFailedError && error.failures.every(({ kind }) => kind === 'down')
}

/**
 * Asks one after the other until one answers; the next ones at once where one is late.
 *
 * @throws {UpstreamError} an origin's own not-found, if that is final
 * @throws {AllUpstreamsFailedError} with what each said; or the signal's reason
 */
async function answerOfRound<Answer>(inquiry: Inquiry<Answer>): Promise<Answer> {
  const { signal } = inquiry
  const failures: UpstreamError[] = []
  const asked = new Set<Upstream>()
  const attempt = (upstream: Upstream) => {
    asked.add(upstream)
    return (either: AbortSignal | undefined, begun: () => void) => {
      const ask = () => inquiry.ask(upstream, either, begun)
      return attemptAt(upstream, ask, inquiry, failures)
    }
  }
  const next = () => {
    const equal = nextEqual(inquiry, asked)
    return equal && attempt(equal)
  }
  for await (const upstream of inTurn(inquiry, failures, asked)) {
    const { value: usualMs } = upstream.client.traffic.measured('manifest').ttfbMs ?? {}
    const first = attempt(upstream)
    const answer = await (inquiry.equals.includes(upstream)
      ? hedged({ first, afterMs: hedgeDelay(usualMs), next, signal })
      : first(signal, () => {}))
    if (answer !== undefined) return answer
  }
  throw new AllUpstreamsFailedError(failures)
}

/** @returns undefined where it failed, with what it said added to `failures` */
async function attemptAt<Answer>(
  upstream: Upstream,
  ask: () => Promise<Answer>,
  { repository, final }: Inquiry<Answer>,
  failures: UpstreamError[],
): Promise<Answer | undefined> {
  try {
    const answer = await ask()
    upstream.health.succeeded()
    return answer
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error
    if (!(error instanceof RefusedAnswerError)) upstream.failed(repository, error)
    if (final && error.authoritative) throw error
    failures.push(error)
    return undefined
  }
}

/** Whom to ask beside one that is late: who is usable or, where nobody is, who was out of reach when it was asked last. */
function nextEqual({ candidates, equals, repository }: Inquiry<unknown>, asked: Set<Upstream>): Upstream | undefined {
  const left = candidates.filter((each) => !asked.has(each) && equals.includes(each) && !each.refusal(repository))
  return left.find(({ health }) => health.usable()) ?? left.find(({ health }) => health.state === 'open')
}

/**
 * Whom to ask, in order: the usable ones; then, if none of those gave so much as a refusal, those left alone for now,
 * so that nothing fails without anybody having been asked. What was passed over is added to `failures`.
 */
async function* inTurn(
  { candidates, repository, signal }: Inquiry<unknown>,
  failures: UpstreamError[],
  asked: Set<Upstream>,
): AsyncGenerator<Upstream> {
  const skipped: Upstream[] = []
  for (const upstream of candidates) {
    if (asked.has(upstream)) continue
    const refusal = upstream.refusal(repository)
    if (refusal) failures.push(refusal)
    else if (upstream.health.usable()) yield upstream
    else skipped.push(upstream)
  }
  const somebodySpoke = failures.some(({ kind }) => kind === 'not-found' || kind === 'denied')
  for (const upstream of skipped) {
    if (asked.has(upstream)) continue
    if (somebodySpoke) failures.push(upstream.health.skipped())
    else if (await worthATry(upstream, signal)) yield upstream
    else failures.push(upstream.health.skipped())
  }
}
