import { EncodedError, NoRangesError, type RefusedAnswerError, type UpstreamError } from './errors.js'
import type { Upstream } from './upstream.js'
import type { KnownRedirect } from './upstream-options.js'

const FAILURES_LIMIT = 3
const STREAMS = 4

/** One upstream in one blob's transfer, and what it did there. */
export class Lane {
  readonly upstream: Upstream
  /** Ends its use of the upstream, which is open until then. */
  readonly leave: () => void
  readonly redirect: KnownRedirect = {}
  /** In a row, without any byte of progress between; at the limit it is asked no more. */
  failures = 0
  lastError: UpstreamError | undefined
  lied = false
  /** Left because it came too slowly: asked again only if nobody else can be. */
  tooSlow = false
  /** It has failed, or has no ranges: not asked for more beside others. */
  alone = false
  /** It refuses ranges, and is asked for the whole. */
  noRanges = false
  /** It compresses although identity is asked for; what is to be done with that. */
  encoded: 'as-is' | 'undone' | undefined
  /** It has given a stream, so that where it redirects to is known. */
  answered = false
  streams = 0
  readonly #repository: string

  constructor({ upstream, repository }: { upstream: Upstream; repository: string }) {
    this.upstream = upstream
    this.leave = upstream.use()
    this.#repository = repository
  }

  get name(): string {
    return this.upstream.name
  }

  /** Whether it is not worth asking any more. */
  get isDone(): boolean {
    return this.lied || this.failures >= FAILURES_LIMIT
  }

  get isUsable(): boolean {
    return !this.isDone && this.upstream.health.usable() && !this.upstream.refusal(this.#repository)
  }

  /** Whether it can give one more stream beside others, at once. */
  get isSpare(): boolean {
    if (this.alone || this.tooSlow || !this.isUsable) return false
    const { options, hasRoom } = this.upstream.client
    const { segmentsAtOnce = STREAMS } = options
    return this.streams < (this.answered ? segmentsAtOnce : Math.min(1, segmentsAtOnce)) && hasRoom
  }

  /** What another try soon cannot change ends the lane until there was progress elsewhere. */
  failed(error: UpstreamError): void {
    const again = error.kind === 'down' || error.kind === 'slow' || error.kind === 'lying'
    this.failures = again ? this.failures + 1 : FAILURES_LIMIT
    this.lastError = error
    this.alone = true
    this.tooSlow ||= error.trickling
    if (error instanceof EncodedError) this.encoded ??= 'as-is'
    this.upstream.failed(this.#repository, error)
  }

  /** What it gave was of no use, and no failure. */
  refused(error: RefusedAnswerError): void {
    this.alone = true
    this.noRanges ||= error instanceof NoRangesError
    this.lastError = error
  }

  /** What it gave did not match. @returns whether that was no lie: what it had compressed was not undone */
  mismatched(): boolean {
    const excused = this.encoded === 'as-is'
    if (excused) this.encoded = 'undone'
    return excused
  }

  /** It was not asked at all. */
  passed(refusal: UpstreamError | undefined): void {
    this.lastError = refusal ?? this.upstream.health.skipped()
    this.failures = refusal ? FAILURES_LIMIT : this.failures + 1
  }
}
