import type { FastifyReply } from 'fastify'
import { OciError } from '../../oci/errors.js'
import { MEDIA_TYPES } from '../../oci/media-types.js'
import { inOrder, pageOfReferrers, referrersIndex } from '../../oci/referrers.js'
import type { PageRequest } from '../../routing/content-source.js'
import type { Handlers } from './handlers.js'

/** end-8: `/v2/<name>/tags/list`. */
export function tagHandlers(): Handlers<'tags'> {
  return {
    async GET({ endpoint: { repository }, route, query, reply }) {
      const page = parsePage(query)
      const { tags, more } = await route.source.listTags(page)
      if (more) linkNext(reply, `/v2/${repository}/tags/list`, query, tags.at(-1))
      return reply.send({ name: repository, tags })
    },
  }
}

/** end-12: `/v2/<name>/referrers/<digest>`. */
export function referrerHandlers(): Handlers<'referrers'> {
  return {
    async GET({ endpoint: { repository, digest }, route, query, reply }) {
      const artifactType = query.get('artifactType') || undefined
      const page = parsePage(query)
      const { descriptors: all, warning } = await route.source.listReferrers(digest, artifactType)
      const { descriptors, more } = pageOfReferrers(inOrder(all), page)
      if (artifactType) reply.header('oci-filters-applied', 'artifactType')
      if (warning) reply.header('warning', warning)
      if (more) linkNext(reply, `/v2/${repository}/referrers/${digest}`, query, descriptors.at(-1)?.digest)
      return reply.header('content-type', MEDIA_TYPES.ociIndex).send(referrersIndex(descriptors))
    },
  }
}

/** `n` and `last` of a listing. @throws {OciError} 400 when `n` is no number */
export function parsePage(query: URLSearchParams): PageRequest {
  const n = query.get('n')
  if (n !== null && !/^\d{1,9}$/.test(n)) {
    throw new OciError('UNSUPPORTED', 'n must be a whole number', { status: 400, detail: { n: n.slice(0, 40) } })
  }
  return { n: n === null ? undefined : Number(n), last: query.get('last') ?? undefined }
}

/** The Link of RFC 5988 to the next page: relative, so that it holds behind any proxy. */
export function linkNext(reply: FastifyReply, path: string, query: URLSearchParams, last: string | undefined): void {
  if (last === undefined) return
  const next = new URLSearchParams(query)
  next.set('last', last)
  reply.header('link', `<${path}?${next}>; rel="next"`)
}
