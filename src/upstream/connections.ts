import type { Socket } from 'node:net'
import { Agent, type buildConnector, type Dispatcher, errors } from 'undici'
import { Deadline } from '../lib/deadline.js'
import { type AddressGuard, forbiddenAddressIn } from './address-guard.js'
import { Egress, type EgressOptions } from './egress.js'
import { UpstreamError } from './errors.js'
import type { Lookup } from './name-lookup.js'

export interface Timeouts {
  /** until a connection stands, TLS and name look-up included; milliseconds */
  connectMs: number
  /** from the request being written to the answer's head; milliseconds */
  firstByteMs: number
  /** without any byte of a body; milliseconds. A body as a whole has no limit. */
  idleMs: number
}

/** An answer's head and its body still to be read; whoever gets it reads the body, or dumps or destroys it. */
export interface Answer {
  status: number
  headers: Dispatcher.ResponseData['headers']
  body: Dispatcher.ResponseData['body']
  /** ms from the sending to the head */
  ttfbMs: number
}

export interface Sending {
  method: 'GET' | 'HEAD'
  headers: Record<string, string>
  signal?: AbortSignal | undefined
}

export interface ConnectionsOptions {
  /** For failures. */
  upstream: string
  /** Of the upstream's configured URL. */
  ownHost: string
  timeouts: Timeouts
  /** At most for each host; 64 when left out. */
  connections?: number | undefined
  egress?: EgressOptions | undefined
  /** Instead of the system's. */
  lookup?: Lookup | undefined
}

const CONNECTIONS_LIMIT = 64

/** No connection came about. Carries no code of undici's, which would take it for one of its own. */
class ConnectError extends Error {
  override readonly name = 'ConnectError'
}

/** The request was written, and the answer's head did not come in time. */
class FirstByteError extends Error {
  override readonly name = 'FirstByteError'
}

/** The sockets to one upstream, its token service and where it redirects: bounded for each host, one request at a time on each. */
export class Connections {
  /** For what is no request of `send`, such as the token service's: without a limit of its own on the answer's head. */
  readonly dispatcher: Dispatcher
  /** Where the upstream may send us. */
  readonly guard: AddressGuard
  readonly #upstream: string
  readonly #dispatcher: Dispatcher
  /** Opens a connection for each request and closes it after, for the one retry. */
  readonly #fresh: Dispatcher
  readonly #agents: Agent[]
  /** Errors of sockets that had served a request before. */
  readonly #ofReused = new WeakSet<Error>()

  constructor(given: ConnectionsOptions) {
    const { upstream, ownHost, timeouts, connections = CONNECTIONS_LIMIT, egress: wanted = {}, lookup } = given
    const egress = new Egress({ options: wanted, ownHost, lookup })
    this.#upstream = upstream
    this.guard = egress.guard
    const options = {
      connections,
      connect: this.#connector(egress, timeouts.connectMs),
      // both limits are timers of our own: undici's count in steps of half a second, and stop while a reader pauses
      headersTimeout: 0,
      bodyTimeout: 0,
    }
    const pooled = new Agent({ ...options, pipelining: 1 })
    const fresh = new Agent({ ...options, pipelining: 0 })
    this.#agents = [pooled, fresh]
    this.dispatcher = pooled
    this.#dispatcher = pooled.compose(firstByteLimit(timeouts.firstByteMs))
    this.#fresh = fresh.compose(firstByteLimit(timeouts.firstByteMs))
  }

  /**
   * Sends one request, following nothing. A kept-alive connection that the server closed as the request was written
   * is no failure of the upstream: the request is sent once more on a new one.
   *
   * @throws {UpstreamError} `down` or `slow`; the signal's reason when it aborts
   */
  async send(url: URL, sending: Sending): Promise<Answer> {
    try {
      return await this.#request(this.#dispatcher, url, sending)
    } catch (error) {
      if (sending.signal?.aborted) throw sending.signal.reason
      if (!this.#wasStale(error)) throw this.failure(error)
    }
    try {
      return await this.#request(this.#fresh, url, sending)
    } catch (error) {
      if (sending.signal?.aborted) throw sending.signal.reason
      throw this.failure(error)
    }
  }

  /** What an error of a socket, a request or a body says of the upstream. */
  failure(cause: unknown): UpstreamError {
    if (cause instanceof UpstreamError) return cause
    const upstream = this.#upstream
    if (cause instanceof FirstByteError)
      return new UpstreamError('slow', cause.message, { upstream, silent: true, cause })
    const forbidden = forbiddenAddressIn(cause)
    if (forbidden) return new UpstreamError('lying', forbidden.message, { upstream, cause })
    if (cause instanceof ConnectError)
      return new UpstreamError('down', cause.message, { upstream, unreached: true, cause })
    return new UpstreamError('down', `the connection broke: ${reasonOf(cause)}`, { upstream, cause })
  }

  async close(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.destroy()))
  }

  async #request(dispatcher: Dispatcher, url: URL, { method, headers, signal }: Sending): Promise<Answer> {
    const sentAt = performance.now()
    const {
      statusCode,
      headers: answered,
      body,
    } = await dispatcher.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method,
      headers,
      signal: signal ?? null,
      // undici closes a connection after a HEAD unless told otherwise; the GET that mostly follows is spared a handshake
      reset: false,
    })
    // a body that breaks before anybody reads it must not end the process; whoever reads it gets the error all the same
    body.on('error', () => undefined)
    return { status: statusCode, headers: answered, body, ttfbMs: performance.now() - sentAt }
  }

  #wasStale(error: unknown): boolean {
    if (!(error instanceof Error) || error instanceof ConnectError || error instanceof FirstByteError) return false
    return this.#ofReused.has(error) || (error instanceof errors.SocketError && (error.socket?.bytesRead ?? 0) > 0)
  }

  #connector(egress: Egress, connectMs: number): buildConnector.connector {
    return (options, callback) => {
      const giveUp = new AbortController()
      const limit = new Deadline(connectMs, () =>
        giveUp.abort(new ConnectError(`no connection within ${connectMs} ms`)),
      )
      egress
        .connect(options, giveUp.signal)
        .finally(() => limit.clear())
        .then(
          (socket) => callback(null, this.#watched(socket)),
          (error: unknown) => callback(connectErrorOf(error), null),
        )
    }
  }

  /** Notes when it breaks after an answer. */
  #watched(socket: Socket): Socket {
    const { bytesRead } = socket
    socket.prependOnceListener('error', (broken) => {
      if (socket.bytesRead > bytesRead) this.#ofReused.add(broken)
    })
    return socket
  }
}

/** Ends a request whose answer's head does not come within `limitMs` of its being written to a connection. */
function firstByteLimit(limitMs: number): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    let limit: Deadline | undefined
    return dispatch(options, {
      onConnect(abort) {
        limit?.clear()
        limit = new Deadline(limitMs, () => abort(new FirstByteError(`no answer within ${limitMs} ms`)))
        handler.onConnect?.(abort)
      },
      onHeaders(status, headers, resume, statusText) {
        if (status >= 200) limit?.clear()
        return handler.onHeaders?.(status, headers, resume, statusText) ?? true
      },
      onData: (chunk) => handler.onData?.(chunk) ?? true,
      onComplete: (trailers) => handler.onComplete?.(trailers),
      onError(error) {
        limit?.clear()
        handler.onError?.(error)
      },
    })
  }
}

function connectErrorOf(error: unknown): ConnectError {
  return error instanceof ConnectError ? error : new ConnectError(`no connection: ${reasonOf(error)}`, { cause: error })
}

/** The code or the message of the innermost cause; of several attempts (one per address) the first. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  if (!(error instanceof Error)) return 'unknown'
  const { code } = error as NodeJS.ErrnoException
  return code && !error.message.includes(code) ? `${code} ${error.message}` : error.message
}
