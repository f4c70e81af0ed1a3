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

/** At the end of each request, however it ends: one log line, and one event when it was a GET of content. */
export function registerAccessLog(app: FastifyInstance, { log, events, access, now }: AccessLogDeps): void {
  app.decorateRequest('facts')
  app.addHook('onRequest', (request, reply, next) => {
    request.facts = { bytes: 0 }
    reply.header('x-request-id', request.id)
    const startedAt = now()
    reply.raw.once('close', () => {
      emit(events, request, reply)
      report(log, access, request, reply, now() - startedAt)
    })
    next()
  })
}

function report(log: Logger, access: boolean, request: FastifyRequest, reply: FastifyReply, durationMs: number): void {
  const { facts } = request
  const status = reply.raw.statusCode
  const cause = facts.error
  const fields = {
    requestId: request.id,
    client: request.raw.socket.remoteAddress ?? request.ip,
    method: request.method,
    path: pathOf(request),
    registry: facts.registry,
    repository: facts.repository,
    reference: facts.reference,
    status,
    bytes: facts.bytes,
    durationMs: Math.round(durationMs * 10) / 10,
    outcome: facts.outcome,
    upstream: facts.source,
    userAgent: request.headers['user-agent'],
    ...(facts.broken ? { broken: true } : reply.raw.writableFinished ? {} : { aborted: true }),
    ...(cause === undefined ? {} : { reason: reasonOf(cause) }),
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
  const { content, repository, registry, outcome, source, bytes, broken } = request.facts
  if (request.method !== 'GET' || !content || !repository) return
  const status = reply.raw.statusCode
  const subject = { registry, repository, content, bytes }
  if (outcome && !broken && status < 400) events.emit('content.served', { ...subject, outcome, source })
  else events.emit('content.failed', { ...subject, status })
}

/** Without the query: it may hold a signature or a token that somebody pasted. */
function pathOf(request: FastifyRequest): string {
  return (request.raw.url ?? '').split('?', 1)[0]!.slice(0, 512)
}
