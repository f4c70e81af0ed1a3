import type { FastifyRequest } from 'fastify'
import type { Subject } from '../auth/access-policy.js'
import type { Origin } from '../auth/attempts.js'
import type { Login } from '../auth/login.js'
import { isInternalAddress } from '../lib/hosts.js'

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/

/** A reverse proxy on this machine speaks for others: what it forwards does not count as coming from loopback. */
export function subjectOf(request: FastifyRequest): Subject {
  const forwarded = request.headers.forwarded ?? request.headers['x-forwarded-for']
  return { loopback: forwarded === undefined && LOOPBACK.test(request.raw.socket.remoteAddress ?? '') }
}

/**
 * Who is asking, by the request's Authorization as well; noted for the access log.
 *
 * @param spare that everybody may do what is asked (`Login.identify`)
 */
export async function identify(request: FastifyRequest, login: Login | undefined, spare: boolean): Promise<Subject> {
  const subject = subjectOf(request)
  if (!login) return subject
  const identity = await login.identify(request.headers.authorization, originOf(request), spare)
  request.facts.user = identity.user
  return { ...subject, ...identity }
}

/** Whence a password comes. Of whom a proxy speaks for, it has written the last one itself; only what is near can be our proxy. */
export function originOf({ raw }: FastifyRequest): Origin {
  const address = raw.socket.remoteAddress ?? ''
  const forwarded = String(raw.headers['x-forwarded-for'] ?? '')
    .split(',')
    .at(-1)!
    .trim()
  return { address, forwardedFor: forwarded && speaksForOthers(raw.socket) ? forwarded.slice(0, 64) : undefined }
}

/** Whether the other end of a connection can be a reverse proxy of ours: it has an address of this machine or network. */
export function speaksForOthers({ remoteAddress = '' }: { remoteAddress?: string | undefined }): boolean {
  const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  return address !== '' && isInternalAddress(address)
}
