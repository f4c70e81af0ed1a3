import type { FastifyReply } from 'fastify'
import type { BufferPool } from '../../lib/buffer-pool.js'
import type { BlobFacts, OpenBlob } from '../../oci/content.js'
import type { Digest } from '../../oci/digest.js'
import { firstPosition } from '../../oci/range.js'
import { describeContent, isNotModified } from './describe.js'
import type { Handlers } from './handlers.js'
import { sendBlob } from './send-blob.js'

/** end-2: `/v2/<name>/blobs/<digest>`, reading. */
export function blobHandlers({ pool }: { pool: BufferPool }): Handlers<'blob'> {
  return {
    async GET({ endpoint: { digest }, route, request, reply }) {
      const blob = await route.source.openBlob(digest, firstPosition(request.headers.range))
      describe(reply, blob)
      if (isNotModified(request, digest)) {
        await blob.reader.close()
        return reply.code(304).send()
      }
      return sendBlob(request, reply, blob, pool)
    },

    async HEAD({ endpoint: { digest }, route, request, reply }) {
      const facts = await route.source.statBlob(digest)
      describe(reply, facts).type('application/octet-stream')
      if (isNotModified(request, digest)) return reply.code(304).send()
      return reply.header('content-length', facts.size).send()
    },
  }
}

/** Bytes by digest never change (RFC 8246). */
function describe(reply: FastifyReply, content: (OpenBlob | BlobFacts) & { digest: Digest }): FastifyReply {
  return describeContent(reply, content).headers({
    'accept-ranges': 'bytes',
    'cache-control': 'max-age=31536000, immutable',
  })
}
