/**
 * What kind of failure an upstream showed; each has its own consequence (health.ts) and its own answer to the client:
 * `down` refused, reset, unreachable, TLS or DNS fault, 5xx; `slow` silent or stalled past its time limit;
 * `limited` 429; `quota` 402; `denied` 401 or 403; `not-found` 404; `lying` an answer that is not what was asked for.
 */
export type UpstreamFailure = 'down' | 'slow' | 'limited' | 'quota' | 'denied' | 'not-found' | 'lying'

export interface UpstreamErrorOptions {
  upstream?: string | undefined
  /** From Retry-After, milliseconds. */
  retryAfterMs?: number | undefined
  /** Set when the upstream was not even reached: no connection, no name, no TLS. */
  unreached?: boolean
  /** Set when a request was written and nothing at all came back within the first-byte limit. */
  silent?: boolean
  /** Set on a `slow` whose bytes do come, at less than the minimum rate: the line may be as much at fault. */
  trickling?: boolean
  /** Set on a `lying` of what is no registry at all, such as a login page: more than one name is concerned. */
  foreign?: boolean
  /** Set on a `not-found` that counts: an origin said it. */
  authoritative?: boolean
  cause?: unknown
}

/** One upstream could not serve one request. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly upstream: string | undefined
  readonly retryAfterMs: number | undefined
  readonly unreached: boolean
  readonly silent: boolean
  readonly trickling: boolean
  readonly authoritative: boolean
  readonly foreign: boolean

  /** @param message for logs and the error detail; holds no URL query, token or credential */
  constructor(
    readonly kind: UpstreamFailure,
    message: string,
    {
      upstream,
      retryAfterMs,
      unreached = false,
      silent = false,
      trickling = false,
      authoritative = false,
      foreign = false,
      cause,
    }: UpstreamErrorOptions = {},
  ) {
    super(message, { cause })
    this.upstream = upstream
    this.retryAfterMs = retryAfterMs
    this.unreached = unreached
    this.silent = silent
    this.trickling = trickling
    this.authoritative = authoritative
    this.foreign = foreign
  }
}

/** An answer that the caller would not have; no fault of the upstream. */
export class RefusedAnswerError extends UpstreamError {}

/** It gives no range of this blob: it can only be asked for the whole. */
export class NoRangesError extends RefusedAnswerError {}

/** Compressed although identity was asked for: it would have to be undone. */
export class EncodedError extends UpstreamError {}

/** No upstream could serve it; `failures` has what each said, in the order they were asked. */
export class AllUpstreamsFailedError extends Error {
  override readonly name = 'AllUpstreamsFailedError'

  constructor(readonly failures: readonly UpstreamError[]) {
    super(
      `every upstream failed: ${failures.map(({ upstream, kind, message }) => `${upstream}: ${kind} (${message})`).join('; ')}`,
    )
  }

  /** Whether nobody has it: an origin said so, or everyone who was asked did. */
  get absent(): boolean {
    const all = this.failures
    return (
      all.some(({ authoritative }) => authoritative) ||
      (all.length > 0 && all.every(({ kind }) => kind === 'not-found'))
    )
  }
}

/** The reason why a request was given up: another upstream was quicker. No fault of anybody. */
export class OutrunError extends Error {
  override readonly name = 'OutrunError'
}
