import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Outcome } from '../../oci/content.js'
import type { Digest } from '../../oci/digest.js'

/** Writes the headers that every content answer carries, and remembers its outcome for the log. */
export function describeContent(
  reply: FastifyReply,
  content: { digest: Digest; outcome: Outcome; source?: string | undefined },
): FastifyReply {
  const { digest, outcome, source } = content
  reply.request.facts.digest = digest
  reply.request.facts.outcome = outcome
  reply.request.facts.source = source
  reply.headers({ 'docker-content-digest': digest, etag: `"${digest}"` })
  if (outcome !== 'local') reply.header('x-cache', outcome)
  if (source) reply.header('x-cache-source', source)
  return reply
}

/** If-None-Match against the one entity tag that content has, its digest (RFC 9110, 13.1.2). */
export function isNotModified(request: FastifyRequest, digest: Digest): boolean {
  const header = request.headers['if-none-match']
  if (header === undefined) return false
  return header
    .split(',')
    .some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '').replaceAll('"', '') === digest)
}
