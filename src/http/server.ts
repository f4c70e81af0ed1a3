import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { type GcServices, registerGc } from './admin/gc.js'
import { createAccessLog, registerAccessLog } from './plugins/access-log.js'
import { registerErrors, sendError } from './plugins/errors.js'
import './request-facts.js'
import { type OperationServices, registerOperations } from './operations.js'
import { registerToken } from './token.js'
import { registerV2, type V2Services } from './v2/router.js'

/** Longer than any common load balancer keeps an idle connection, so that it is never us who close under its feet. */
const KEEP_ALIVE_TIMEOUT_MS = 620_000
/** A peer that vanished without a word is noticed by the system's probes. */
const KEEP_ALIVE_PROBE_MS = 60_000
const LIMITS: ConnectionLimits = { headersTimeoutMs: 10_000, checkIntervalMs: 2_000 }

export interface ConnectionLimits {
  /** A request's head must be here within this; the body of a push may take for ever. */
  headersTimeoutMs: number
  /** How often that is looked at. */
  checkIntervalMs: number
}

export interface ServerDeps {
  v2: V2Services
  operations: OperationServices
  /** Left out: there is no admin API. */
  admin?: GcServices
  log: Logger
  events: EventBus
  access: boolean
  now: () => number
  /** Left out: 10 s, looked at every 2 s. */
  limits?: ConnectionLimits
}

/** The one listener: registry API, tokens, statistics, health. It has no body limit, no request limit and no total time limit. */
export function createServer(deps: ServerDeps): FastifyInstance {
  const { v2, operations, admin, log, events, access, now, limits = LIMITS } = deps
  const observe = createAccessLog({ log, events, access, now })
  const app = fastify({
    // Its own lines at info level say what ours say better.
    loggerInstance: log.child({ module: 'fastify' }, { level: log.isLevelEnabled('warn') ? 'warn' : log.level }),
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: {
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: limits.checkIntervalMs,
      requestTimeout: 0,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
    },
    exposeHeadRoutes: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 65_536 },
    frameworkErrors: (error, request, reply) => {
      // A target that cannot be unescaped never gets as far as the hooks.
      observe(request as FastifyRequest, reply as unknown as FastifyReply)
      return sendError(error, request, reply)
    },
    clientErrorHandler: refuse,
  })
  oneAtATime(app as unknown as FastifyInstance)
  registerAccessLog(app as unknown as FastifyInstance, observe)
  registerErrors(app as unknown as FastifyInstance)
  leaveBodiesAlone(app as unknown as FastifyInstance)
  registerV2(app as unknown as FastifyInstance, v2)
  registerToken(app as unknown as FastifyInstance, v2)
  registerOperations(app as unknown as FastifyInstance, operations, v2)
  if (admin) registerGc(app as unknown as FastifyInstance, admin)
  return app as unknown as FastifyInstance
}

/**
 * A request that was written before the one ahead of it was answered (RFC 9112, 9.3.2) waits for its turn: a response
 * that has no socket yet is not told when the client leaves, and would hold what it has opened for ever.
 */
function oneAtATime(app: FastifyInstance): void {
  app.addHook('onRequest', (_request, { raw }, next) => {
    if (raw.socket) next()
    else raw.once('socket', () => next())
  })
}

/** Bodies are read by the handlers that take them, as streams. */
function leaveBodiesAlone(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
}

/** What Node's parser and timers complain of, by its code; everything else is no HTTP, a TLS hello for example. */
const COMPLAINTS = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', { status: '408 Request Timeout', message: 'the head of the request took too long' }],
  [
    'HPE_HEADER_OVERFLOW',
    { status: '431 Request Header Fields Too Large', message: 'the head of the request is too large' },
  ],
])
const NO_HTTP = { status: '400 Bad Request', message: 'this is not an HTTP request; this port speaks plain HTTP' }

/** Closes the connection at once, with a word why if it cannot fall into another answer. */
function refuse(this: unknown, error: Error & { code?: string }, socket: Socket): void {
  if (socket.destroyed) return
  if (!socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const { status, message } = COMPLAINTS.get(error.code ?? '') ?? NO_HTTP
  const body = JSON.stringify({ errors: [{ code: 'UNSUPPORTED', message }] })
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  socket.destroySoon()
}
