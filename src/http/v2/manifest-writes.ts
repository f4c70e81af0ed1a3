import { MANIFEST_LIMIT } from '../../oci/manifest.js'
import type { LocalRegistry } from '../../registry/local-registry.js'
import { pushTarget } from '../../routing/content-source.js'
import { readBody } from './body.js'
import type { Handlers } from './handlers.js'

/** end-7 and end-9: `/v2/<name>/manifests/<reference>`, writing. */
export function manifestWriteHandlers({
  manifests,
  attachments,
}: Pick<LocalRegistry, 'manifests' | 'attachments'>): Pick<Handlers<'manifest'>, 'PUT' | 'DELETE'> {
  return {
    async PUT({ endpoint: { repository, reference }, route, request, reply }) {
      const bytes = await readBody(request, MANIFEST_LIMIT)
      const contentType = request.headers['content-type']
      const target = pushTarget(route)
      if (route.kind === 'proxy') {
        const { source } = route
        await attachments.admit({ repository: target, references: [reference], bytes, contentType, source })
      }
      const { digest, subject } = await manifests.put(target, reference, bytes, contentType)
      if (subject) reply.header('oci-subject', subject)
      return reply
        .code(201)
        .headers({ location: `/v2/${repository}/manifests/${digest}`, 'docker-content-digest': digest })
        .send()
    },

    async DELETE({ endpoint: { reference }, route, reply }) {
      await manifests.delete(pushTarget(route), reference)
      return reply.code(202).send()
    },
  }
}
