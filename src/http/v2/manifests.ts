import { describeContent, isNotModified } from './describe.js'
import type { Handlers, V2Request } from './handlers.js'

/** end-3: `/v2/<name>/manifests/<reference>`, reading. HEAD and GET differ in the body alone. */
export function manifestHandlers(): Handlers<'manifest'> {
  return { GET: serve, HEAD: serve }
}

async function serve({ endpoint: { reference }, route, request, reply }: V2Request<'manifest'>) {
  const manifest = await route.source.getManifest(reference)
  describeContent(reply, manifest).header('content-type', manifest.mediaType)
  if (manifest.warning) reply.header('warning', manifest.warning)
  if (isNotModified(request, manifest.digest)) return reply.code(304).send()
  reply.header('content-length', manifest.bytes.length)
  if (request.method === 'HEAD') return reply.send()
  request.facts.bytes = manifest.bytes.length
  return reply.send(manifest.bytes)
}
