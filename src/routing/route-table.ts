import { isAbsence, OciError } from '../oci/errors.js'
import { parseRepository, type Repository } from '../oci/reference.js'
import type { ContentSource, Resolver, Route } from './content-source.js'

/** A configured registry: the names it goes by and how to reach one of its repositories. */
export interface RegistryRoute {
  /** `docker.io` */
  name: string
  /** Other hosts that mean the same registry. */
  aliases: readonly string[]
  source: (repository: Repository) => ContentSource
  /** Whether its repositories take pushes of referrers. */
  attach: boolean
}

export interface RouteTableDeps {
  registries: readonly RegistryRoute[]
  /** Answers names without a registry, and requests without `ns`. */
  defaultRegistry: string
  /** First segments of the repositories that are pushed here. */
  localNamespaces: readonly string[]
  local: (repository: Repository) => ContentSource
}

const DOCKER_HUB = 'docker.io'

/** Where a name leads: a closed list, so that no name a client thinks of is ever dialled. */
export class RouteTable implements Resolver {
  readonly #byHost: ReadonlyMap<string, RegistryRoute>
  readonly #default: RegistryRoute
  readonly #localNamespaces: ReadonlySet<string>
  readonly #local: (repository: Repository) => ContentSource

  constructor({ registries, defaultRegistry, localNamespaces, local }: RouteTableDeps) {
    this.#byHost = new Map(registries.flatMap((route) => [route.name, ...route.aliases].map((host) => [host, route])))
    this.#default = this.#registry(defaultRegistry)
    this.#localNamespaces = new Set(localNamespaces)
    this.#local = local
  }

  /** `ns` (distribution specification, Registry Proxying) wins over everything that the name seems to say. */
  resolve(repository: Repository, ns: string | undefined): Route {
    if (ns !== undefined) return this.#proxied(this.#registry(ns), repository, true)
    const slash = repository.indexOf('/')
    const first = slash < 0 ? repository : repository.slice(0, slash)
    if (this.#localNamespaces.has(first)) return { kind: 'local', repository, source: this.#local(repository) }
    if (slash > 0 && isHost(first))
      return this.#proxied(this.#registry(first), parseRepository(repository.slice(slash + 1)), false)
    return this.#proxied(this.#default, repository, false)
  }

  /** The one name of a repository, `docker.io/library/nginx` of `nginx`; undefined where its registry is not configured. */
  nameOf(repository: Repository): Repository | undefined {
    try {
      const route = this.resolve(repository, undefined)
      return route.kind === 'local' ? route.repository : (`${route.registry}/${route.repository}` as Repository)
    } catch (error) {
      if (isAbsence(error)) return undefined
      throw error
    }
  }

  #proxied(route: RegistryRoute, name: Repository, namespaced: boolean): Route {
    const official = route.name === DOCKER_HUB && !name.includes('/')
    const repository = official ? parseRepository(`library/${name}`) : name
    const source = route.source(repository)
    // `ns` is for pulls: what a client is told of its push has no place for it.
    const attach = route.attach && !namespaced ? (`${route.name}/${repository}` as Repository) : undefined
    return { kind: 'proxy', registry: route.name, repository, source, namespaced, attach }
  }

  #registry(host: string): RegistryRoute {
    const route = this.#byHost.get(host.toLowerCase())
    if (route) return route
    throw new OciError('NAME_UNKNOWN', 'this registry is not mirrored here: add it under registries in mirrors.yaml', {
      detail: { registry: host.slice(0, 128) },
    })
  }
}

/** As Docker tells a registry from a namespace: it has a dot or a port, or is localhost. */
function isHost(segment: string): boolean {
  return segment.includes('.') || segment.includes(':') || segment === 'localhost'
}
