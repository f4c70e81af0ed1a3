import type { FastifyRequest } from 'fastify'
import type { Subject } from '../auth/access-policy.js'

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/

/** A reverse proxy on this machine speaks for others: what it forwards does not count as coming from loopback. */
export function subjectOf(request: FastifyRequest): Subject {
  const forwarded = request.headers.forwarded ?? request.headers['x-forwarded-for']
  return { loopback: forwarded === undefined && LOOPBACK.test(request.raw.socket.remoteAddress ?? '') }
}
