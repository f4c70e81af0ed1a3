import type { FastifyRequest } from 'fastify'
import { chunksOf } from '../../lib/chunks.js'
import { OciError } from '../../oci/errors.js'

/**
 * A body whole, for what is known to be small.
 *
 * @param limit in bytes
 * @throws {OciError} SIZE_INVALID with status 413 (RFC 9110, 15.5.14) beyond `limit`; MANIFEST_INVALID when it broke off
 */
export async function readBody(request: FastifyRequest, limit: number): Promise<Buffer> {
  const tooLarge = () => new OciError('SIZE_INVALID', `the body is larger than ${limit} bytes`, { status: 413 })
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge()
  const chunks: Buffer[] = []
  let size = 0
  const brokenOff = (cause: unknown) => new OciError('MANIFEST_INVALID', 'the request broke off', { cause })
  for await (const chunk of chunksOf(request.raw, brokenOff)) {
    size += chunk.length
    if (size > limit) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}
