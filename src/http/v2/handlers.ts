import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Endpoint } from '../../oci/endpoint.js'
import type { Route } from '../../routing/content-source.js'
import type { Access } from './access.js'

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The endpoints that name a repository. */
export type RepositoryEndpoint = Extract<Endpoint, { repository: unknown }>
export type Kind = RepositoryEndpoint['kind']

/** One request, parsed: what it asks for and the repository that answers. */
export interface V2Request<K extends Kind> {
  endpoint: Extract<RepositoryEndpoint, { kind: K }>
  route: Route
  /** What the one who asks may do elsewhere. */
  access: Access
  query: URLSearchParams
  request: FastifyRequest
  reply: FastifyReply
}

export type Handler<K extends Kind> = (v2: V2Request<K>) => Promise<unknown>

/** What an endpoint answers by method; UNSUPPORTED for a method left out. */
export type Handlers<K extends Kind> = Partial<Record<Method, Handler<K>>>
