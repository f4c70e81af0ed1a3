import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type UpstreamAuth, UpstreamGate } from './upstream-auth.js'
import { UpstreamContent } from './upstream-content.js'
import { breakingPoint, distort, type Fault, interrupt, type Reply } from './upstream-faults.js'
import { answer, json, repositoryOf } from './upstream-routes.js'

export type { UpstreamAuth } from './upstream-auth.js'
export type { Fault } from './upstream-faults.js'

export interface BuiltInUpstreamOptions {
  /** 0 or absent: one that is free. */
  port?: number
  auth?: UpstreamAuth
  /** Everything is served below it, e.g. `/prefix`. */
  prefix?: string
  /** Tags on a page of a list at most. */
  pageSize?: number
  /** Whether it has the referrers API. */
  referrers?: boolean
  /** Whether a blob is only had by the name of a repository with a manifest that names it, as at most registries. */
  ownBlobs?: boolean
  now?: () => number
}

/** One request as it was asked and answered. */
export interface UpstreamRequest {
  method: string
  /** With the query. */
  path: string
  range: string | undefined
  /** Whether it carried an Authorization header. */
  authorization: boolean
  /** 0 while it has no answer. */
  status: number
  /** of the body */
  bytesSent: number
}

const SLICE_BYTES = 64 * 1024
const THROTTLE_STEP_MS = 20

/** A small real registry on 127.0.0.1 that holds what it is given, misbehaves on demand and remembers what it was asked. */
export class BuiltInUpstream extends UpstreamContent {
  readonly gate: UpstreamGate
  requests: UpstreamRequest[] = []
  /** Decides for each request that is let in, and for `/token`, how it is answered wrongly. */
  fault: ((request: UpstreamRequest) => Fault | undefined) | undefined
  /** Each body is sent at most this fast; undefined: as fast as it goes. */
  bytesPerSecond: number | undefined
  readonly #options: BuiltInUpstreamOptions
  readonly #server: Server
  #port: number

  constructor(options: BuiltInUpstreamOptions) {
    super()
    this.#options = options
    this.#port = options.port ?? 0
    this.gate = new UpstreamGate(options.auth ?? { kind: 'none' }, options.now ?? Date.now)
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  /** `http://127.0.0.1:PORT` and the prefix. */
  get url(): string {
    return `${this.origin}${this.#options.prefix ?? ''}`
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get port(): number {
    return this.#port
  }

  /** `GET /v2/...` of every request, in order. */
  get asked(): string[] {
    return this.requests.map(lineOf)
  }

  /** Tokens that its own `/token` was asked for, whether given or not. */
  get tokenRequests(): number {
    return this.gate.tokenRequests
  }

  /** Bytes of bodies sent so far. */
  get bytesSent(): number {
    return this.requests.reduce((sum, { bytesSent }) => sum + bytesSent, 0)
  }

  /** Bytes of content among them: what answers with status 200 or 206 under `/v2/` had. */
  get contentBytesSent(): number {
    const content = this.requests.filter(
      ({ path, status }) => path.includes('/v2/') && (status === 200 || status === 206),
    )
    return content.reduce((sum, { bytesSent }) => sum + bytesSent, 0)
  }

  /** How many requests match: by a condition, or by a pattern on `GET /v2/...`. */
  count(which: RegExp | ((request: UpstreamRequest) => boolean)): number {
    const matches = which instanceof RegExp ? (request: UpstreamRequest) => which.test(lineOf(request)) : which
    return this.requests.filter(matches).length
  }

  /** Connections that are open, idle ones included. */
  async connections(): Promise<number> {
    return promisify(this.#server.getConnections.bind(this.#server))()
  }

  /** Listens, on the same port as before if it did before. */
  async start(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Refuses connections from now on, and breaks those that are open. What it holds is kept. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  close(): Promise<void> {
    return this.stop()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '/', headers } = request
    const { range, authorization } = headers
    const record = { method, path, range, authorization: authorization !== undefined, status: 0, bytesSent: 0 }
    this.requests.push(record)
    response.on('error', () => response.destroy())
    const url = new URL(path, this.origin)
    const below = url.pathname.slice(`${this.#options.prefix ?? ''}/v2/`.length)

    const isToken = url.pathname === '/token'
    const challenge = isToken ? undefined : this.gate.challenge(repositoryOf(below), authorization, this.origin)
    if (challenge) {
      const refusal = json({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }, 401)
      return this.#send(
        response,
        record,
        { ...refusal, headers: { ...refusal.headers, 'www-authenticate': challenge } },
        undefined,
      )
    }
    const fault = this.fault?.(record)
    if (interrupt(fault, response)) return
    if (fault?.kind === 'delay') await sleep(fault.ms)
    const reply = isToken ? this.#token(url, authorization) : this.#answer(url, below, headers, fault)
    await this.#send(response, record, distort(fault, reply), fault)
  }

  #token(url: URL, authorization: string | undefined): Reply {
    const { status, body } = this.gate.issue(url.searchParams, authorization)
    return json(body, status)
  }

  #answer(url: URL, below: string, headers: IncomingMessage['headers'], fault: Fault | undefined): Reply {
    if (!url.pathname.startsWith(`${this.#options.prefix ?? ''}/v2/`)) return json({}, 404)
    const { pageSize = 1000, referrers = true, ownBlobs = false } = this.#options
    const { range, 'if-none-match': ifNoneMatch } = headers
    return answer({
      content: this,
      path: below,
      query: url.searchParams,
      range,
      ifNoneMatch,
      fault,
      pageSize,
      referrers,
      ownBlobs,
    })
  }

  async #send(
    response: ServerResponse,
    record: UpstreamRequest,
    reply: Reply,
    fault: Fault | undefined,
  ): Promise<void> {
    const { status, headers, body } = reply
    record.status = status
    const length = fault?.kind === 'chunked' ? {} : { 'content-length': String(body.length) }
    response.writeHead(status, { ...headers, ...length })
    if (record.method === 'HEAD' || status === 304) return void response.end()
    response.flushHeaders()
    const end = Math.min(breakingPoint(fault) ?? body.length, body.length)
    await this.#transmit(response, record, body.subarray(0, end))
    if (fault?.kind === 'stall') return
    if (fault?.kind === 'cut') response.destroy()
    else response.end()
  }

  /** In slices, so that what is counted as sent is what the other side took. */
  async #transmit(response: ServerResponse, record: UpstreamRequest, body: Buffer): Promise<void> {
    const beganAt = performance.now()
    while (record.bytesSent < body.length && !response.destroyed) {
      const rate = this.bytesPerSecond
      const due =
        rate === undefined ? Infinity : Math.floor((rate * (performance.now() - beganAt + THROTTLE_STEP_MS)) / 1000)
      const slice = body.subarray(record.bytesSent, Math.min(record.bytesSent + SLICE_BYTES, due))
      if (slice.length === 0) {
        await sleep(THROTTLE_STEP_MS)
        continue
      }
      record.bytesSent += slice.length
      if (!response.write(slice)) await drained(response)
    }
    await flushed(response)
  }
}

/** Starts a registry that listens; whoever starts it closes it. */
export async function startUpstream(options: BuiltInUpstreamOptions = {}): Promise<BuiltInUpstream> {
  const upstream = new BuiltInUpstream(options)
  await upstream.start()
  return upstream
}

function lineOf({ method, path }: UpstreamRequest): string {
  return `${method} ${path}`
}

/** Until there is room again, or nobody to write to. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
    if (response.destroyed) done()
  })
}

/** Until what was written has left for the socket, so that a cut comes after it. */
async function flushed(response: ServerResponse): Promise<void> {
  while (response.writableLength > 0 && !response.destroyed) await sleep(1)
}
