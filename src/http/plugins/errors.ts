import { once } from 'node:events'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { OciError } from '../../oci/errors.js'

/** The only writer of error bodies: any failure becomes the specification's body, unknown ones tell nothing. */
export function registerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: FastifyError, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler((request, reply) => sendError(nothingHere(app, request), request, reply))
}

function nothingHere(app: FastifyInstance, { method, raw }: FastifyRequest): OciError {
  const [path = ''] = (raw.url ?? '').split('?', 1)
  if (!path.startsWith('/')) return new OciError('NAME_INVALID', 'the request target must be a path, not a whole URL')
  // A method that no route at all takes lands here as well.
  if (path.startsWith('/v2/') || app.hasRoute({ method: 'GET', url: path })) {
    return new OciError('UNSUPPORTED', `${method} is not supported here`, { headers: { allow: 'GET, HEAD' } })
  }
  return new OciError('UNSUPPORTED', 'there is nothing at this path', { status: 404 })
}

/** Headers that speak of content, which an error is not. */
const OF_CONTENT = [
  'accept-ranges',
  'cache-control',
  'content-length',
  'docker-content-digest',
  'etag',
  'warning',
  'x-cache',
  'x-cache-source',
]

export function sendError(error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const shown = toShown(error)
  request.facts.error = error
  letBodyRunOff(request, reply)
  for (const name of OF_CONTENT) reply.removeHeader(name)
  return reply.code(shown.status).headers(shown.headers).type('application/json').send(shown.toJSON())
}

function toShown(error: Error & { statusCode?: number }): OciError {
  if (error instanceof OciError) return error
  // Fastify's own refusals of malformed requests: its status, our body.
  const status = error.statusCode
  if (status !== undefined && status >= 400 && status < 500)
    return new OciError('UNSUPPORTED', error.message, { status, cause: error })
  return new OciError('UNKNOWN', 'internal error', { cause: error })
}

/**
 * What is still being sent is read and dropped, and only then is the connection closed, if the client asked for that:
 * closing it under a body on its way would reset it, and the client would never see the answer (RFC 9112, 9.6).
 */
function letBodyRunOff({ raw }: FastifyRequest, reply: FastifyReply): void {
  const { 'content-length': length = '0', 'transfer-encoding': encoding, connection = '' } = raw.headers
  if (raw.complete || (length === '0' && encoding === undefined)) return
  raw.resume()
  if (!/\bclose\b/i.test(connection)) return
  reply.raw.shouldKeepAlive = true
  const ends = [once(raw, 'end'), once(reply.raw, 'finish')]
  // A connection that breaks before that is closed already.
  Promise.all(ends).then(
    () => raw.socket.end(),
    () => {},
  )
}
