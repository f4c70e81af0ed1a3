import { MANIFEST_LIMIT } from '../../oci/manifest.js'
import type { LocalRegistry } from '../../registry/local-registry.js'
import { readBody } from './body.js'
import type { Handlers } from './handlers.js'

/** end-7 and end-9: `/v2/<name>/manifests/<reference>`, writing. */
export function manifestWriteHandlers({
  manifests,
}: Pick<LocalRegistry, 'manifests'>): Pick<Handlers<'manifest'>, 'PUT' | 'DELETE'> {
  return {
    async PUT({ endpoint: { repository, reference }, request, reply }) {
      const bytes = await readBody(request, MANIFEST_LIMIT)
      const { digest, subject } = await manifests.put(repository, reference, bytes, request.headers['content-type'])
      if (subject) reply.header('oci-subject', subject)
      return reply
        .code(201)
        .headers({ location: `/v2/${repository}/manifests/${digest}`, 'docker-content-digest': digest })
        .send()
    },

    async DELETE({ endpoint: { repository, reference }, reply }) {
      await manifests.delete(repository, reference)
      return reply.code(202).send()
    },
  }
}
