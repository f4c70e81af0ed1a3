import { randomUUID } from 'node:crypto'
import type { Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import fastify, { type FastifyInstance, LogController } from 'fastify'
import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { registerAccessLog } from './plugins/access-log.js'
import { registerErrors, sendError } from './plugins/errors.js'
import './request-facts.js'
import { type OperationServices, registerOperations } from './operations.js'
import { registerV2, type V2Services } from './v2/router.js'

/** A head must be here within this; the body of a push may take for ever. */
const HEADERS_TIMEOUT_MS = 10_000
/** Longer than any common load balancer keeps an idle connection, so that it is never us who close under its feet. */
const KEEP_ALIVE_TIMEOUT_MS = 620_000

export interface ServerDeps {
  v2: V2Services
  operations: OperationServices
  log: Logger
  events: EventBus
  access: boolean
  now: () => number
}

/** The one listener: registry API, statistics, health. It has no body limit, no request limit and no total time limit. */
export function createServer({ v2, operations, log, events, access, now }: ServerDeps): FastifyInstance {
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 2_000, requestTimeout: 0 },
    exposeHeadRoutes: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 65_536 },
    frameworkErrors: (error, request, reply) => {
      request.facts ??= { bytes: 0 }
      return sendError(error, request, reply)
    },
    clientErrorHandler: refuse,
  })
  registerAccessLog(app as unknown as FastifyInstance, { log, events, access, now })
  registerErrors(app as unknown as FastifyInstance)
  leaveBodiesAlone(app as unknown as FastifyInstance)
  registerV2(app as unknown as FastifyInstance, v2)
  registerOperations(app as unknown as FastifyInstance, operations)
  return app as unknown as FastifyInstance
}

/** Bodies are read by the handlers that take them, as streams. */
function leaveBodiesAlone(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
}

/** What is no HTTP, a TLS hello on the plain port for example, is told so and closed at once. */
function refuse(this: unknown, _error: Error, socket: Socket): void {
  if (socket.destroyed) return
  const body = JSON.stringify({
    errors: [{ code: 'UNSUPPORTED', message: 'this is not an HTTP request; this port speaks plain HTTP' }],
  })
  if (socket.writable) {
    socket.end(
      `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
  }
  socket.destroySoon()
}

/** Ends what is idle now and lets the rest finish: Node's own close waits for keep-alive connections otherwise. */
export function closeIdle(app: FastifyInstance): void {
  const server = app.server as HttpServer
  server.closeIdleConnections()
}
