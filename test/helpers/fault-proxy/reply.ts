import { createHmac, timingSafeEqual } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { Fault } from './fault.js'
import { BreakError, spoil } from './spoil.js'

/** An answer before it is sent. */
export interface Reply {
  status: number
  headers: OutgoingHttpHeaders
  body: AsyncIterable<Buffer>
}

/** The request that is answered. */
export interface Situation {
  /** Path and query. */
  url: string
  /** Aborts when the asker has gone. */
  gone: AbortSignal
  now: () => number
}

const PAGE = '<!doctype html><title>Sign in to this network</title>'
const KEY = 'what a store signs its URLs with'

/**
 * What is answered without asking the registry, if the fault is of that kind.
 *
 * @throws {BreakError} when the connection is to end
 */
export async function instead(fault: Fault, { url, gone, now }: Situation): Promise<Reply | undefined> {
  switch (fault.kind) {
    case 'reset':
    case 'close':
      throw new BreakError(fault.kind)
    case 'hang':
      await sleep(2 ** 30, undefined, { signal: gone })
      return undefined
    case 'status':
      return whole(fault.status, fault.headers ?? {}, fault.body ?? '')
    case 'html':
      return whole(fault.status ?? 200, { 'content-type': 'text/html; charset=utf-8' }, PAGE)
    case 'redirect':
      return whole(fault.status ?? 307, { location: locationOf(fault, url, now) }, '')
    case 'signed':
      return isSigned(url, now()) ? undefined : whole(403, { 'content-type': 'application/xml' }, '<Error/>')
    default:
      return undefined
  }
}

/** The answer as the fault leaves it. */
export async function distort(fault: Fault, reply: Reply, { gone }: Situation): Promise<Reply> {
  const { headers } = reply
  const length = Number(headers['content-length'] ?? 0)
  switch (fault.kind) {
    case 'delay': {
      const ms = (fault.ms ?? 0) + ((fault.msPerMiB ?? 0) * length) / 2 ** 20
      await sleep(ms, undefined, { signal: gone })
      return reply
    }
    case 'headers':
      return { ...reply, headers: withHeaders(headers, fault.set) }
    case 'chunked':
      return { ...reply, headers: withHeaders(headers, { 'content-length': undefined }) }
    case 'wrong-range':
      return { ...reply, headers: { ...headers, ...shifted(headers, fault) } }
    case 'encoded':
      return encoded(reply, fault)
    case 'short':
      return withLength({ ...reply, body: spoil(reply.body, fault, length, gone) }, Math.floor(length * fault.after))
    case 'long': {
      const body = spoil(reply.body, fault, length, gone)
      return fault.announced ? withLength({ ...reply, body }, length + fault.bytes) : { ...reply, body }
    }
    case 'cut':
    case 'end':
    case 'stall':
    case 'flip':
    case 'throttle':
      return { ...reply, body: spoil(reply.body, fault, length, gone) }
    default:
      return reply
  }
}

function whole(status: number, headers: Record<string, string>, text: string): Reply {
  const bytes = Buffer.from(text)
  async function* body() {
    if (bytes.length > 0) yield bytes
  }
  return { status, headers: { ...headers, 'content-length': String(bytes.length) }, body: body() }
}

function withHeaders(headers: OutgoingHttpHeaders, set: Record<string, string | undefined>): OutgoingHttpHeaders {
  const merged = Object.entries({ ...headers, ...set }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(merged)
}

function withLength(reply: Reply, length: number): Reply {
  return { ...reply, headers: { ...reply.headers, 'content-length': String(length) } }
}

function shifted(headers: OutgoingHttpHeaders, { start = 0, total = 0 }: { start?: number; total?: number }) {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(String(headers['content-range']))
  if (!match) return {}
  const [first, last, size] = match.slice(1).map(Number) as [number, number, number]
  return { 'content-range': `bytes ${first + start}-${last}/${size + total}` }
}

async function encoded(reply: Reply, { as, plain }: { as: string; plain?: boolean }): Promise<Reply> {
  const said = { ...reply, headers: { ...reply.headers, 'content-encoding': as } }
  if (plain) return said
  const chunks: Buffer[] = []
  for await (const chunk of reply.body) chunks.push(chunk)
  const zipped = gzipSync(Buffer.concat(chunks))
  async function* body() {
    yield zipped
  }
  return withLength({ ...said, body: body() }, zipped.length)
}

function locationOf({ to, signedForMs }: Extract<Fault, { kind: 'redirect' }>, url: string, now: () => number): string {
  const target = new URL(to)
  const { pathname } = new URL(url, target)
  if (target.pathname === '/') target.pathname = pathname
  if (signedForMs === undefined) return target.href
  const expires = String(now() + signedForMs)
  target.searchParams.set('expires', expires)
  target.searchParams.set('signature', signatureOf(target.pathname, expires))
  return target.href
}

function isSigned(url: string, now: number): boolean {
  const { pathname, searchParams } = new URL(url, 'http://store.test')
  const expires = searchParams.get('expires') ?? ''
  const given = Buffer.from(searchParams.get('signature') ?? '')
  const right = Buffer.from(signatureOf(pathname, expires))
  return given.length === right.length && timingSafeEqual(given, right) && Number(expires) > now
}

function signatureOf(pathname: string, expires: string): string {
  return createHmac('sha256', KEY).update(`${pathname} ${expires}`).digest('hex')
}
