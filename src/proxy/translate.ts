import { OciError, type OciErrorCode } from '../oci/errors.js'
import { AllUpstreamsFailedError, UpstreamError } from '../upstream/errors.js'

/** What is missing when nobody has it. */
export type Missing = Extract<OciErrorCode, 'BLOB_UNKNOWN' | 'MANIFEST_UNKNOWN' | 'NAME_UNKNOWN'>

/** For a limit that does not say how long it holds. */
const UNTOLD_WAIT_MS = 60_000

/**
 * What a client is told of the upstreams' failures: 404 where nobody has it, 429 where waiting is all that helps, 503
 * where it could not be found out; either says how long to wait where that is known. The detail names each upstream and what it did, never its own words.
 */
export function toOciError(error: unknown, missing: Missing, detail: Record<string, unknown>): unknown {
  if (isTimeout(error)) return new OciError('UNAVAILABLE', 'no upstream answered in time', { cause: error, detail })
  const failures = failuresOf(error)
  if (!failures) return error
  const waitMs = waitOf(error)
  const options = {
    cause: error,
    ...(waitMs !== undefined && { headers: { 'retry-after': String(Math.max(1, Math.ceil(waitMs / 1000))) } }),
    detail: { ...detail, upstreams: failures.map(({ upstream, kind }) => ({ upstream, answer: kind })) },
  }
  if (isAbsent(failures)) return new OciError(missing, `no upstream has it${grudge(failures)}`, options)
  if (waitMs !== undefined && failures.every(({ kind }) => kind === 'limited' || kind === 'quota' || isRefusal(kind)))
    return new OciError('TOOMANYREQUESTS', 'the upstreams ask to wait', options)
  return new OciError('UNAVAILABLE', 'no upstream could answer', options)
}

/** Where waiting helps: how long until one that asked for it may be asked again, in milliseconds. */
export function waitOf(error: unknown): number | undefined {
  const failures = failuresOf(error) ?? []
  const limited = failures.filter(({ kind }) => kind === 'limited')
  if (limited.length === 0 || isAbsent(failures)) return undefined
  return Math.min(...limited.map(({ retryAfterMs }) => retryAfterMs ?? UNTOLD_WAIT_MS))
}

/** The budget of the request is spent (AbortSignal.timeout). */
function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError'
}

/** Whether the answer is that nobody has it: an origin said so, or everybody did. */
export function isAbsence(error: unknown): boolean {
  const failures = failuresOf(error)
  return failures !== undefined && isAbsent(failures)
}

/** Whether an origin said that it does not exist; that may be remembered. */
export function isAuthoritativeAbsence(error: unknown): boolean {
  return failuresOf(error)?.some(({ authoritative }) => authoritative) ?? false
}

/** Whether an origin said of the very tag that it does not exist, and not of what a tag leads to. */
export function isOriginsNo(error: unknown): boolean {
  return error instanceof UpstreamError && error.authoritative
}

function failuresOf(error: unknown): readonly UpstreamError[] | undefined {
  if (error instanceof AllUpstreamsFailedError) return error.failures
  return error instanceof UpstreamError ? [error] : undefined
}

function isAbsent(failures: readonly UpstreamError[]): boolean {
  return (
    failures.some(({ authoritative }) => authoritative) ||
    (failures.length > 0 && failures.every(({ kind }) => isRefusal(kind)))
  )
}

/** Registries hide what exists behind 401 and 403, so a refusal by all reads as absence. */
function isRefusal(kind: UpstreamError['kind']): boolean {
  return kind === 'not-found' || kind === 'denied'
}

function grudge(failures: readonly UpstreamError[]): string {
  const denied = failures.filter(({ kind }) => kind === 'denied').map(({ upstream }) => upstream)
  return denied.length > 0 ? ` (${denied.join(', ')} refused access)` : ''
}
