import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { type Endpoint, parseEndpoint } from '../../oci/endpoint.js'
import { OciError } from '../../oci/errors.js'
import { printReference } from '../../oci/reference.js'
import { pushTarget, type Resolver } from '../../routing/content-source.js'
import { type AccessServices, demand, demandCatalog, demandIdentity, mountNeedOf, needOf } from './admission.js'
import type { Handler, Handlers, Kind, Method, RepositoryEndpoint, V2Request } from './handlers.js'
import { linkNext, parsePage } from './listings.js'

const PREFIX = '/v2/'
/** Paths whose meaning is kept: the hot ones are asked for thousands of times a second. */
const PATHS_LIMIT = 10_000
const LONGEST_KEPT = 512
const NO_QUERY = new URLSearchParams()
const METHODS: Method[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

export interface Catalog {
  /** Names of the repositories here, in lexical order; only those that `isShown` says yes to. */
  repositories(
    page: { n?: number | undefined; last?: string | undefined },
    isShown: (repository: string) => boolean,
  ): { repositories: string[]; more: boolean }
}

export interface V2Services extends AccessServices {
  resolver: Resolver
  catalog: Catalog
  handlers: { [K in Kind]: Handlers<K> }
}

/**
 * The registry API. Names hold slashes, so one route takes all of it and `parseEndpoint` reads the raw target;
 * what follows is the same for each: resolve the repository, check the access, look up kind and method.
 */
export function registerV2(app: FastifyInstance, services: V2Services): void {
  const endpointOf = keeping(parseEndpoint)
  app.route({
    method: METHODS,
    url: `${PREFIX}*`,
    handler: async (request, reply) => {
      reply.header('docker-distribution-api-version', 'registry/2.0')
      const { path, query } = splitTarget(request)
      const endpoint = endpointOf(path, request.raw.url)
      if (endpoint.kind === 'base') return ping(request, reply, services)
      if (endpoint.kind === 'catalog') {
        readOnly(request, reply)
        const access = await demandCatalog(request, services)
        const shown = (repository: string) => access.may('pull', repository)
        const { repositories, more } = services.catalog.repositories(parsePage(query), shown)
        if (more) linkNext(reply, `${PREFIX}_catalog`, query, repositories.at(-1))
        return { repositories }
      }
      return answer(endpoint, query, { request, reply, services })
    },
  })
  app.get('/v2', (request, reply) => {
    reply.header('docker-distribution-api-version', 'registry/2.0')
    return ping(request, reply, services)
  })
}

/** The same answers, without the work where a path was parsed lately. */
function keeping(parse: (path: string) => Endpoint): (path: string, target: string | undefined) => Endpoint {
  const kept = new LRUCache<string, Endpoint>({ max: PATHS_LIMIT })
  return (path, target = '') => {
    const known = kept.get(path)
    if (known) return known
    const endpoint = parse(path)
    // What is cut out of a string keeps all of it in memory, a long query too.
    if (target.length <= LONGEST_KEPT) kept.set(path, endpoint)
    return endpoint
  }
}

/** end-1. Where nobody can sign in 200 to anybody, whatever Authorization came along: dockerd leaves a mirror that is 401. */
async function ping(request: FastifyRequest, reply: FastifyReply, services: V2Services): Promise<object> {
  readOnly(request, reply)
  await demandIdentity(request, services)
  return {}
}

/** @throws {OciError} UNSUPPORTED for any method but GET and HEAD */
function readOnly(request: FastifyRequest, reply: FastifyReply): void {
  if (request.method !== 'GET' && request.method !== 'HEAD') throw unsupported(request, reply, ['GET', 'HEAD'])
}

/** RFC 9110, 15.5.6: a 405 says what is allowed. */
function unsupported({ method }: FastifyRequest, reply: FastifyReply, allowed: string[]): OciError {
  reply.header('allow', allowed.join(', '))
  return new OciError('UNSUPPORTED', `${method} is not supported here`)
}

async function answer(
  endpoint: RepositoryEndpoint,
  query: URLSearchParams,
  { request, reply, services }: Pick<V2Request<Kind>, 'request' | 'reply'> & { services: V2Services },
): Promise<unknown> {
  const method = request.method as Method
  const writes = method !== 'GET' && method !== 'HEAD'
  note(request, endpoint)
  const route = services.resolver.resolve(endpoint.repository, query.get('ns') || undefined)
  request.facts.repository = route.repository
  if (route.kind === 'proxy') {
    request.facts.registry = route.registry
    if (route.namespaced) reply.header('oci-namespace', route.registry)
    if (writes) pushTarget(route)
  }
  const need = needOf(endpoint, method, route)
  const access = await demand(request, services, { need, mount: mountNeedOf(endpoint, query, services.resolver) })
  // Only now: who is sent for a token, or may not have it, has not asked the cache for anything.
  if (endpoint.kind === 'manifest' || endpoint.kind === 'blob') request.facts.content = endpoint.kind
  const handle = services.handlers[endpoint.kind][method] as Handler<Kind> | undefined
  if (!handle) throw unsupported(request, reply, Object.keys(services.handlers[endpoint.kind]))
  return handle({ endpoint, route, access, query, request, reply })
}

function note(request: FastifyRequest, endpoint: RepositoryEndpoint): void {
  request.facts.repository = endpoint.repository
  if (endpoint.kind === 'manifest') request.facts.reference = printReference(endpoint.reference)
  if (endpoint.kind === 'blob' || endpoint.kind === 'referrers') request.facts.reference = endpoint.digest
}

/** The raw target, since Fastify's own parameters are unescaped already. @throws {OciError} NAME_INVALID */
function splitTarget(request: FastifyRequest): { path: string; query: URLSearchParams } {
  const target = request.raw.url ?? ''
  if (!target.startsWith(PREFIX))
    throw new OciError('NAME_INVALID', 'the request target must be a path, not a whole URL')
  const mark = target.indexOf('?')
  if (mark < 0) return { path: target.slice(PREFIX.length), query: NO_QUERY }
  return { path: target.slice(PREFIX.length, mark), query: new URLSearchParams(target.slice(mark + 1)) }
}
