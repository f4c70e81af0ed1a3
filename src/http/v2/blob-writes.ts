import type { LocalRegistry } from '../../registry/local-registry.js'
import { pushTarget } from '../../routing/content-source.js'
import type { Handlers } from './handlers.js'

/** end-10: `/v2/<name>/blobs/<digest>`, deleting. */
export function blobWriteHandlers({ blobs }: Pick<LocalRegistry, 'blobs'>): Pick<Handlers<'blob'>, 'DELETE'> {
  return {
    async DELETE({ endpoint: { digest }, route, reply }) {
      await blobs.delete(pushTarget(route), digest)
      return reply.code(202).send()
    },
  }
}
