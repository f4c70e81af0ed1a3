import { OciError } from '../../oci/errors.js'
import { MANIFEST_LIMIT } from '../../oci/manifest.js'
import { parseTag, type Reference, referenceOf, type Tag } from '../../oci/reference.js'
import type { LocalRegistry } from '../../registry/local-registry.js'
import { pushTarget } from '../../routing/content-source.js'
import { readBody } from './body.js'
import type { Handlers } from './handlers.js'
import { warn } from './warnings.js'

/** end-7 and end-9: `/v2/<name>/manifests/<reference>`, writing. */
export function manifestWriteHandlers({
  manifests,
  attachments,
}: Pick<LocalRegistry, 'manifests' | 'attachments'>): Pick<Handlers<'manifest'>, 'PUT' | 'DELETE'> {
  return {
    async PUT({ endpoint: { repository, reference }, route, query, request, reply }) {
      const tags = tagsIn(query, reference)
      const bytes = await readBody(request, MANIFEST_LIMIT)
      const push = { reference, tags, bytes, contentType: request.headers['content-type'] }
      const target = pushTarget(route)
      if (route.kind === 'proxy') {
        const references = [reference, ...tags.map(referenceOf)]
        await attachments.admit({ ...push, repository: target, references, source: route.source })
      }
      const { digest, subject, warnings } = await manifests.put(target, push)
      if (subject) reply.header('oci-subject', subject)
      if (tags.length > 0) reply.header('oci-tag', tags.join(', '))
      warn(reply, reference.kind === 'tag' && query.has('tag') ? [...warnings, TAG_IGNORED] : warnings)
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

/** end-7b: at least ten must be possible. */
const TAGS_LIMIT = 100
const TAG_IGNORED = 'tag= is for a push by digest, and was ignored'

/** What `tag=` asks for, each once. @throws {OciError} MANIFEST_INVALID for what is no tag; 414 beyond the limit */
function tagsIn(query: URLSearchParams, reference: Reference): Tag[] {
  if (reference.kind === 'tag') return []
  const tags = [...new Set(query.getAll('tag').map(parseTag))]
  if (tags.length <= TAGS_LIMIT) return tags
  throw new OciError('UNSUPPORTED', `at most ${TAGS_LIMIT} tags can be set at once: push again for the others`, {
    status: 414,
  })
}
