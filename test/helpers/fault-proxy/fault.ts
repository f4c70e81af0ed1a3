/**
 * How an upstream misbehaves. `after` is a share of the body, from 0 to 1. Several in a list act one after the other, as
 * `[{ kind: 'delay', ms: 500 }, { kind: 'cut', after: 0.5 }]`.
 */
export type Fault =
  // In place of an answer.
  /** The connection is reset before the head; or closed in order. */
  | { kind: 'reset' | 'close' }
  /** No answer at all, until the asker goes. */
  | { kind: 'hang' }
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: string }
  /** A captive portal's page; status 200 unless said otherwise. */
  | { kind: 'html'; status?: number }
  /** To the same path at `to`, or to `to` itself if it has a path; signed for so long where that is said (see `signed`). */
  | { kind: 'redirect'; to: string; status?: number; signedForMs?: number }
  /** What a store with signed URLs does: 403 unless the query has a signature that has not expired. */
  | { kind: 'signed' }
  // To the head.
  /** The head comes late: by `ms`, and by `msPerMiB` for each MiB of the whole. */
  | { kind: 'delay'; ms?: number; msPerMiB?: number }
  /** Headers put in, or taken out where undefined. */
  | { kind: 'headers'; set: Record<string, string | undefined> }
  /** Status 200 and the whole, whatever Range asks. */
  | { kind: 'ignore-range' }
  /** A Content-Range whose start, or whose total, is so many bytes off; the body is as it was. */
  | { kind: 'wrong-range'; start?: number; total?: number }
  /** No Content-Length. */
  | { kind: 'chunked' }
  // To the body.
  /** Compressed, or only said to be. */
  | { kind: 'encoded'; as: 'gzip' | 'x-gzip'; plain?: boolean }
  /** The connection is reset in the body; closed in order; left open without another byte. */
  | { kind: 'cut' | 'end' | 'stall'; after: number }
  /** A Content-Length that is less than there is, and a body to match. */
  | { kind: 'short'; after: number }
  /** So many bytes more than there are: announced in Content-Length, or behind what it says. */
  | { kind: 'long'; bytes: number; announced: boolean }
  /** The byte in the middle is another one. */
  | { kind: 'flip' }
  /** Each body at so many bytes a second. */
  | { kind: 'throttle'; bytesPerSecond: number }

/** What a path is about. */
export type PathKind = 'ping' | 'manifest' | 'blob' | 'tags' | 'referrers' | 'token' | 'other'

/** Which requests; what is left out fits all. */
export interface Occasion {
  method?: 'GET' | 'HEAD'
  kind?: PathKind
  repository?: string
  /** A tag or a digest. */
  reference?: string
  /** What the Range header is: there or not; or with an end or without. */
  range?: 'none' | 'any' | 'open' | 'closed'
}

/** What a request is, as far as an occasion asks. */
export interface Subject {
  method: string
  kind: PathKind
  repository: string
  reference: string
  range: string | undefined
}

/** Reads a registry's path. */
export function subjectOf(method: string, url: string, range: string | undefined): Subject {
  const { pathname } = new URL(url, 'http://registry.test')
  const [, repository = '', place = '', reference = ''] =
    /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/(.+)$/.exec(pathname) ?? []
  return { method, kind: kindOf(pathname, place), repository, reference, range }
}

export function isOccasion(occasion: Occasion, { method, kind, repository, reference, range }: Subject): boolean {
  return (
    fits(occasion.method, method) &&
    fits(occasion.kind, kind) &&
    fits(occasion.repository, repository) &&
    fits(occasion.reference, reference) &&
    fitsRange(occasion.range, range)
  )
}

function kindOf(pathname: string, place: string): PathKind {
  if (/^\/v2\/?$/.test(pathname)) return 'ping'
  if (place === 'manifests') return 'manifest'
  if (place === 'blobs') return 'blob'
  if (place === 'tags' || place === 'referrers') return place
  return pathname.endsWith('/token') ? 'token' : 'other'
}

function fits(wanted: string | undefined, is: string): boolean {
  return wanted === undefined || wanted === is
}

function fitsRange(wanted: Occasion['range'], range: string | undefined): boolean {
  if (wanted === undefined) return true
  if (wanted === 'none' || range === undefined) return (wanted === 'none') === (range === undefined)
  return wanted === 'any' || (wanted === 'open') === range.endsWith('-')
}
