import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { OciError } from '../../oci/errors.js'

/** The only writer of error bodies: any failure becomes the specification's body, unknown ones tell nothing. */
export function registerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: FastifyError, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler((request, reply) => {
    const isPath = request.raw.url?.startsWith('/')
    const error = isPath
      ? new OciError('UNSUPPORTED', 'there is nothing at this path', { status: 404 })
      : new OciError('NAME_INVALID', 'the request target must be a path, not a whole URL')
    return sendError(error, request, reply)
  })
}

export function sendError(error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const shown = toShown(error)
  request.facts.error = error
  for (const name of ['etag', 'docker-content-digest', 'x-cache', 'content-length']) reply.removeHeader(name)
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
