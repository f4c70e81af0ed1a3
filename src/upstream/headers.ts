import type { IncomingHttpHeaders } from 'node:http'

/** A header's one value; of several the first. */
export function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** Retry-After (RFC 9110, 10.2.3), seconds or a date, as milliseconds from `now`; undefined when absent or unreadable. */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** Content-Length, when it is a number that can be one. */
export function contentLength(headers: IncomingHttpHeaders): number | undefined {
  const value = header(headers, 'content-length')
  const length = value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined
  return Number.isSafeInteger(length) ? length : undefined
}

/** The Content-Encoding in lower case: `identity` where there is none, `gzip` for x-gzip as well (RFC 9110, 8.4.1.3). */
export function encodingOf({ headers }: { headers: IncomingHttpHeaders }): string {
  const encoding = header(headers, 'content-encoding')?.trim().toLowerCase() || 'identity'
  return encoding === 'x-gzip' ? 'gzip' : encoding
}

/** What is left of a quota of pulls, as Docker Hub tells it. */
export interface RateLimit {
  limit: number
  remaining: number
  windowSeconds: number | undefined
}

/** `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 87;w=21600`. */
export function parseRateLimit(headers: IncomingHttpHeaders): RateLimit | undefined {
  const [limit, windowSeconds] = amountAndWindow(header(headers, 'ratelimit-limit'))
  const [remaining] = amountAndWindow(header(headers, 'ratelimit-remaining'))
  return limit === undefined || remaining === undefined ? undefined : { limit, remaining, windowSeconds }
}

function amountAndWindow(value: string | undefined): [number | undefined, number | undefined] {
  const [, amount, window] = /^\s*(\d+)(?:.*?;\s*w=(\d+))?/.exec(value ?? '') ?? []
  return [amount === undefined ? undefined : Number(amount), window === undefined ? undefined : Number(window)]
}
