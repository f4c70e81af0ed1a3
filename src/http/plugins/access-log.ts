import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { EventBus } from '../../events.js'
import { OciError } from '../../oci/errors.js'

export interface AccessLogDeps {
  log: Logger
  events: EventBus
  /** Whether each request gets a line; failures of ours are logged either way. */
  access: boolean
  now: () => number
}

/** Called once at the start of a request. */
export type Observe = (request: FastifyRequest, reply: FastifyReply) => void

/** At the end of each request, however it ends: one log line, and one event when it was a GET of content. */
export function createAccessLog({ log, events, access, now }: AccessLogDeps): Observe {
  // What it writes is known by name, and nothing of it is a secret: looking for some costs more than writing the line.
  const lines = log.child({}, { redact: [] })
  return (request, reply) => {
    request.facts = { bytes: 0 }
    reply.header('x-request-id', request.id)
    const startedAt = now()
    // A closed socket has no address any more.
    const client = request.raw.socket.remoteAddress
    reply.raw.once('close', () => {
      emit(events, request, reply)
      report(lines, access, { request, reply, client, durationMs: now() - startedAt })
    })
  }
}

export function registerAccessLog(app: FastifyInstance, observe: Observe): void {
  app.decorateRequest('facts')
  app.addHook('onRequest', (request, reply, next) => {
    observe(request, reply)
    next()
  })
}

interface Finished {
  request: FastifyRequest
  reply: FastifyReply
  client: string | undefined
  durationMs: number
}

/** nginx's word for a client that left before there was an answer. */
const CLIENT_LEFT = 499

function report(log: Logger, access: boolean, { request, reply, client, durationMs }: Finished): void {
  const { facts } = request
  const status = statusOf(reply)
  const cause = facts.error
  const fields = {
    requestId: request.id,
    client,
    user: facts.user,
    method: request.method,
    path: pathOf(request),
    registry: facts.registry,
    repository: facts.repository,
    reference: facts.reference,
    status,
    bytes: facts.bytes || lengthOf(request, reply),
    durationMs: Math.round(durationMs * 10) / 10,
    outcome: facts.outcome,
    upstream: facts.source,
    userAgent: request.headers['user-agent']?.slice(0, 256),
    broken: facts.broken,
    aborted: facts.broken || reply.raw.writableFinished ? undefined : true,
    reason: cause === undefined ? undefined : reasonOf(cause),
  }
  const unexpected = cause !== undefined && !(cause instanceof OciError) && !facts.broken
  if (unexpected && status >= 500) log.error({ ...fields, err: cause }, 'request failed')
  else if (facts.broken || status >= 500) log.warn(fields, 'request failed')
  else if (access) log.info(fields, 'request')
}

/** The message, and the messages of what caused it: nobody searches a stack at night for an upstream's answer. */
function reasonOf(error: unknown): string {
  const messages: string[] = []
  for (let at: unknown = error; at instanceof Error && messages.length < 4; at = at.cause) messages.push(at.message)
  return messages.join(': ')
}

function emit(events: EventBus, request: FastifyRequest, reply: FastifyReply): void {
  const { content, repository, registry, digest, outcome, source, bytes, broken } = request.facts
  if (request.method !== 'GET' || !content || !repository) return
  const status = statusOf(reply)
  if (digest && outcome && !broken && status < 400)
    events.emit('content.served', { registry, repository, content, bytes, digest, outcome, source })
  else events.emit('content.failed', { registry, repository, content, bytes, status })
}

/** What an answer other than content had as its body. */
function lengthOf(request: FastifyRequest, reply: FastifyReply): number {
  const hasBody = request.method !== 'HEAD' && reply.raw.statusCode !== 304 && reply.raw.writableFinished
  return hasBody ? Number(reply.getHeader('content-length') ?? 0) : 0
}

function statusOf({ raw }: FastifyReply): number {
  return raw.headersSent ? raw.statusCode : CLIENT_LEFT
}

/** Without the query, and without the credentials of a whole URL: a signature, a token, a password may be in them. */
function pathOf(request: FastifyRequest): string {
  const target = request.raw.url ?? ''
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  return (path.startsWith('/') ? path : path.replace(/^([a-z]+:\/\/)[^/]*@/i, '$1')).slice(0, 512)
}
