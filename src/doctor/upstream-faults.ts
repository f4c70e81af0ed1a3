import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'

/** How a built-in upstream misbehaves for one request. Positions count within the body that is sent, unless said otherwise. */
export type Fault =
  /** Another answer in place of the right one. */
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: string }
  /** A captive portal's page, with status 200. */
  | { kind: 'html' }
  | { kind: 'redirect'; to: string; status?: number }
  /** No answer at all. */
  | { kind: 'hang' }
  /** The connection is reset before the head. */
  | { kind: 'reset' }
  /** The head comes late. */
  | { kind: 'delay'; ms: number }
  /** The connection ends after so many bytes of the body. */
  | { kind: 'cut'; after: number }
  /** Nothing more comes after so many bytes of the body. */
  | { kind: 'stall'; after: number }
  /** The byte at this position of the whole blob is another one. */
  | { kind: 'flip'; at: number }
  /** Status 200 and the whole, whatever Range asks. */
  | { kind: 'ignore-range' }
  /** A 206 that begins so many bytes further on. */
  | { kind: 'shift-range'; by: number }
  /** The body has ten bytes less than there are; Content-Length says so, Content-Range does not. */
  | { kind: 'short' }
  /** The body has ten bytes more than there are; Content-Length says so, Content-Range does not. */
  | { kind: 'long' }
  /** No Content-Length. */
  | { kind: 'chunked' }
  | { kind: 'gzip' }
  /** No Docker-Content-Digest, or one of other bytes. */
  | { kind: 'no-digest' }
  | { kind: 'wrong-digest' }

/** An answer before it is sent. */
export interface Reply {
  status: number
  headers: Record<string, string>
  body: Buffer
  /** Where in the whole the body begins. */
  start: number
}

const PAGE = '<!doctype html><title>Please log in</title>'
const DIFFERENCE = 10

/** Deals with what keeps an answer from being given at all. @returns whether it did */
export function interrupt(fault: Fault | undefined, response: ServerResponse): boolean {
  if (fault?.kind === 'reset') response.socket?.resetAndDestroy()
  return fault?.kind === 'reset' || fault?.kind === 'hang'
}

/** The answer as the fault has it. */
export function distort(fault: Fault | undefined, reply: Reply): Reply {
  const { status, headers, body, start } = reply
  switch (fault?.kind) {
    case 'status':
      return { status: fault.status, headers: fault.headers ?? {}, body: Buffer.from(fault.body ?? ''), start: 0 }
    case 'html':
      return { status: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body: Buffer.from(PAGE), start: 0 }
    case 'redirect':
      return { status: fault.status ?? 307, headers: { location: fault.to }, body: Buffer.alloc(0), start: 0 }
    case 'flip':
      return { ...reply, body: flipped(body, fault.at - start) }
    case 'shift-range': {
      const range = headers['content-range']?.replace(/\d+/, String(start + fault.by))
      return range === undefined
        ? reply
        : { ...reply, headers: { ...headers, 'content-range': range }, body: body.subarray(fault.by) }
    }
    case 'short':
      return { ...reply, body: body.subarray(0, -DIFFERENCE) }
    case 'long':
      return { ...reply, body: Buffer.concat([body, Buffer.alloc(DIFFERENCE)]) }
    case 'gzip':
      return { status, headers: { ...headers, 'content-encoding': 'gzip' }, body: gzipSync(body), start }
    case 'no-digest':
      return {
        ...reply,
        headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== DIGEST_HEADER)),
      }
    case 'wrong-digest':
      return { ...reply, headers: { ...headers, [DIGEST_HEADER]: `sha256:${'0'.repeat(64)}` } }
    default:
      return reply
  }
}

/** After how many bytes of the body nothing more is sent; undefined for all of it. */
export function breakingPoint(fault: Fault | undefined): number | undefined {
  return fault?.kind === 'cut' || fault?.kind === 'stall' ? fault.after : undefined
}

const DIGEST_HEADER = 'docker-content-digest'

function flipped(body: Buffer, at: number): Buffer {
  const before = body[at]
  if (before === undefined) return body
  const copy = Buffer.from(body)
  copy[at] = before ^ 0xff
  return copy
}
