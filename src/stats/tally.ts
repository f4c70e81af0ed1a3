import { z } from 'zod'
import type { Outcome } from '../oci/content.js'

const count = z.int().nonnegative()

const registryCounts = z.strictObject({
  hit: count,
  join: count,
  miss: count,
  stale: count,
  error: count,
  /** Body bytes sent to clients; of them, those that did not wait for an upstream. */
  served: count,
  fromCache: count,
  /** Body bytes received from upstreams. */
  fromUpstream: count,
  /** Times that upstreams were found to differ on what a tag is; records of before it was counted have none. */
  diverged: count.default(0),
})
const upstreamCounts = z.strictObject({ requests: count, errors: count, bytes: count })
const repositoryCounts = z.strictObject({ requests: count, errors: count, fromCache: count, bytesServed: count })
const cacheCounts = z.strictObject({ fills: count, evictions: count, evictedBytes: count })

const localCounts = z.strictObject({ blobs: count, manifests: count, bytes: count, deletes: count })

/** A tally as it is stored. */
export const tallyRecord = z.strictObject({
  cache: cacheCounts,
  /** Records of before it was counted have none. */
  local: localCounts.default({ blobs: 0, manifests: 0, bytes: 0, deletes: 0 }),
  registries: z.record(z.string(), registryCounts),
  upstreams: z.record(z.string(), upstreamCounts),
  repositories: z.record(z.string(), repositoryCounts),
})

export type RegistryCounts = z.infer<typeof registryCounts>
export type UpstreamCounts = z.infer<typeof upstreamCounts>
export type RepositoryCounts = z.infer<typeof repositoryCounts>
export type TallyRecord = z.infer<typeof tallyRecord>

/** A request of a manifest or blob that is read through, as it ended. */
export interface ReadThrough {
  registry: string
  repository: string
  outcome: Exclude<Outcome, 'local'> | 'error'
  /** of the body, as sent */
  bytes: number
}

/** What happened in one span of time. Adding costs the same whatever it holds; the names it keeps are bounded. */
export class Tally {
  readonly cache: TallyRecord['cache']
  /** What was pushed here: blobs and manifests, the bytes that came over the wire, and what was deleted of it. */
  readonly local: TallyRecord['local']
  readonly registries: Map<string, RegistryCounts>
  /** By `upstreamKey`. */
  readonly upstreams: Map<string, UpstreamCounts>
  /** By `docker.io/library/nginx`. */
  readonly repositories: Map<string, RepositoryCounts>
  readonly #namesLimit: number

  /**
   * @param namesLimit of repositories; beyond it those asked for least are forgotten
   * @param record what an earlier tally left; taken over, not copied
   */
  constructor(namesLimit: number, record?: TallyRecord) {
    this.#namesLimit = namesLimit
    this.cache = record?.cache ?? { fills: 0, evictions: 0, evictedBytes: 0 }
    this.local = record?.local ?? { blobs: 0, manifests: 0, bytes: 0, deletes: 0 }
    this.registries = new Map(Object.entries(record?.registries ?? {}))
    this.upstreams = new Map(Object.entries(record?.upstreams ?? {}))
    this.repositories = new Map(Object.entries(record?.repositories ?? {}))
  }

  answered({ registry, repository, outcome, bytes }: ReadThrough): void {
    const fromCache = outcome === 'hit' || outcome === 'join' || outcome === 'stale'
    const counts = this.#registry(registry)
    counts[outcome]++
    counts.served += bytes
    if (fromCache) counts.fromCache += bytes
    const repositoryCounts = this.#repository(`${registry}/${repository}`)
    repositoryCounts.requests++
    if (outcome === 'error') repositoryCounts.errors++
    if (fromCache) repositoryCounts.fromCache++
    repositoryCounts.bytesServed += bytes
  }

  received(registry: string, bytes: number): void {
    this.#registry(registry).fromUpstream += bytes
  }

  diverged(registry: string): void {
    this.#registry(registry).diverged++
  }

  asked(upstream: string, counts: UpstreamCounts): void {
    add(entry(this.upstreams, upstream, newUpstream), counts)
  }

  filled(): void {
    this.cache.fills++
  }

  evicted(bytes: number): void {
    this.cache.evictions++
    this.cache.evictedBytes += bytes
  }

  pushed(kind: 'blobs' | 'manifests', bytes: number): void {
    this.local[kind]++
    this.local.bytes += bytes
  }

  deleted(): void {
    this.local.deletes++
  }

  /** Adds all that `other` counted. */
  merge(other: Tally): void {
    add(this.cache, other.cache)
    add(this.local, other.local)
    for (const [name, counts] of other.registries) add(this.#registry(name), counts)
    for (const [name, counts] of other.upstreams) this.asked(name, counts)
    for (const [name, counts] of other.repositories) add(this.#repository(name), counts)
  }

  toJSON(): TallyRecord {
    const { cache, local, registries, upstreams, repositories } = this
    return {
      cache,
      local,
      registries: Object.fromEntries(registries),
      upstreams: Object.fromEntries(upstreams),
      repositories: Object.fromEntries(repositories),
    }
  }

  #registry(name: string): RegistryCounts {
    return entry(this.registries, name, newRegistry)
  }

  #repository(name: string): RepositoryCounts {
    if (!this.repositories.has(name) && this.repositories.size >= this.#namesLimit) this.#forget()
    return entry(this.repositories, name, newRepository)
  }

  /** A tenth at once, so that sorting costs little a name. */
  #forget(): void {
    const leastAskedFor = [...this.repositories].sort(([, one], [, other]) => one.requests - other.requests)
    for (const [name] of leastAskedFor.slice(0, Math.ceil(this.#namesLimit / 10))) this.repositories.delete(name)
  }
}

/** A registry's name holds no slash. */
export const upstreamKey = ({ registry, name }: { registry: string; name: string }) => `${registry}/${name}`

export const newRegistry = (): RegistryCounts => ({
  hit: 0,
  join: 0,
  miss: 0,
  stale: 0,
  error: 0,
  served: 0,
  fromCache: 0,
  fromUpstream: 0,
  diverged: 0,
})
export const newUpstream = (): UpstreamCounts => ({ requests: 0, errors: 0, bytes: 0 })
const newRepository = (): RepositoryCounts => ({ requests: 0, errors: 0, fromCache: 0, bytesServed: 0 })

/** Adds each number of `more` to its namesake. */
export function add<Counts extends Record<keyof Counts, number>>(counts: Counts, more: Readonly<Counts>): void {
  for (const name of Object.keys(more) as (keyof Counts)[]) (counts[name] as number) += more[name]
}

function entry<Counts>(counts: Map<string, Counts>, name: string, make: () => Counts): Counts {
  const known = counts.get(name)
  if (known) return known
  const made = make()
  counts.set(name, made)
  return made
}
