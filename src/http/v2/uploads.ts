import type { FastifyReply, FastifyRequest } from 'fastify'
import { algorithmOf, type Digest, parseDigest } from '../../oci/digest.js'
import { parseChunkRange } from '../../oci/range.js'
import { isRepository, type Repository } from '../../oci/reference.js'
import type { LocalRegistry } from '../../registry/local-registry.js'
import { receivedRange, type UploadChunk, type UploadState, uploadLocation } from '../../registry/uploads.js'
import { pushTarget } from '../../routing/content-source.js'
import { accountOf } from '../subject.js'
import type { Handlers, V2Request } from './handlers.js'

type UploadParts = Pick<LocalRegistry, 'uploads' | 'mounts' | 'chunkMinLength'>

/** end-4 to end-6, end-11, end-13 and end-14: `/v2/<name>/blobs/uploads/` and `/v2/<name>/blobs/uploads/<session>`. */
export function uploadHandlers({ uploads, mounts, chunkMinLength }: UploadParts): {
  uploads: Handlers<'uploads'>
  upload: Handlers<'upload'>
} {
  return {
    uploads: { POST: (v2) => begin({ uploads, mounts, chunkMinLength }, v2) },
    upload: {
      async GET({ endpoint: { repository, session }, route, reply }) {
        return describe(reply.code(204), repository, await uploads.status(pushTarget(route), session)).send()
      },

      async PATCH({ endpoint: { repository, session }, route, request, reply }) {
        const state = await uploads.append(pushTarget(route), session, chunkOf(request))
        return describe(reply.code(202), repository, state).send()
      },

      async PUT({ endpoint: { repository, session }, route, query, request, reply }) {
        const digest = parseDigest(query.get('digest') ?? '')
        await uploads.finish(pushTarget(route), session, digest, chunkOf(request))
        return created(reply, repository, digest)
      },

      async DELETE({ endpoint: { session }, route, reply }) {
        await uploads.cancel(pushTarget(route), session)
        return reply.code(204).send()
      },
    },
  }
}

async function begin({ uploads, mounts, chunkMinLength }: UploadParts, v2: V2Request<'uploads'>) {
  const { endpoint, route, query, request, reply } = v2
  const { repository } = endpoint
  const target = pushTarget(route)
  const client = accountOf(request)
  const mount = query.get('mount')
  if (mount !== null && (await mounted(mounts, v2, parseDigest(mount)))) {
    return created(reply, repository, parseDigest(mount))
  }
  const whole = query.get('digest')
  if (whole !== null) {
    const digest = parseDigest(whole)
    await uploads.pushWhole(target, digest, chunkOf(request), client)
    return created(reply, repository, digest)
  }
  const algorithm = query.get('digest-algorithm') ?? (mount === null ? undefined : algorithmOf(parseDigest(mount)))
  const state = await uploads.begin(target, { client, algorithm })
  if (chunkMinLength > 0) reply.header('oci-chunk-min-length', chunkMinLength)
  return describe(reply.code(202), repository, state).send()
}

/** A name that is none cannot be mounted from; it is no reason to refuse the upload. */
async function mounted(
  mounts: LocalRegistry['mounts'],
  { route, access, query }: V2Request<'uploads'>,
  digest: Digest,
): Promise<boolean> {
  const repository = pushTarget(route)
  const from = query.get('from')
  // No client can ask for a token for repositories that it does not name: what the person may pull is what counts.
  if (from === null) return mounts.mountFromAny(repository, digest, (name) => access.may('pull', name))
  if (!isRepository(from)) return false
  return mounts.mount(repository, digest, from, (name) => access.mayTake(name, from))
}

function chunkOf(request: FastifyRequest): UploadChunk {
  const { 'content-range': header, 'content-length': length } = request.headers
  return {
    body: request.raw,
    range: header === undefined ? undefined : (parseChunkRange(header) ?? 'malformed'),
    length: length === undefined ? undefined : Number(length),
  }
}

function describe(reply: FastifyReply, repository: Repository, { session, size }: UploadState): FastifyReply {
  return reply.headers({
    location: uploadLocation(repository, session),
    range: receivedRange(size),
    'docker-upload-uuid': session,
  })
}

function created(reply: FastifyReply, repository: Repository, digest: Digest): FastifyReply {
  return reply
    .code(201)
    .headers({ location: `/v2/${repository}/blobs/${digest}`, 'docker-content-digest': digest })
    .send()
}
