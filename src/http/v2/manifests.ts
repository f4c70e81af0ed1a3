import type { FastifyRequest } from 'fastify'
import { canonicalName } from '../../routing/content-source.js'
import { describeContent, isNotModified } from './describe.js'
import type { Handlers, V2Request } from './handlers.js'

/** end-3: `/v2/<name>/manifests/<reference>`, reading. HEAD and GET differ in the body alone. */
export function manifestHandlers(): Handlers<'manifest'> {
  const serve = async ({ endpoint: { reference }, route, access, request, reply }: V2Request<'manifest'>) => {
    // Each costs the origin a request, of which there may be few: it is for those who run the mirror.
    const refresh = wantsNews(request) && access.may('push', canonicalName(route))
    const manifest = await route.source.getManifest(reference, refresh)
    describeContent(reply, manifest).header('content-type', manifest.mediaType)
    if (manifest.warning) reply.header('warning', manifest.warning)
    if (isNotModified(request, manifest.digest)) return reply.code(304).send()
    reply.header('content-length', manifest.bytes.length)
    if (request.method === 'HEAD') return reply.send()
    request.facts.bytes = manifest.bytes.length
    return reply.send(manifest.bytes)
  }
  return { GET: serve, HEAD: serve }
}

/** RFC 9111, 5.2.1.4: nothing stored is to be used without asking. */
function wantsNews({ headers }: FastifyRequest): boolean {
  const directives = headers['cache-control']?.split(',') ?? []
  return directives.some((directive) => directive.trim().toLowerCase() === 'no-cache')
}
