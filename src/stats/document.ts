import {
  add,
  newRegistry,
  newUpstream,
  type RegistryCounts,
  type RepositoryCounts,
  type Tally,
  upstreamKey,
} from './tally.js'

/** One upstream as it is now; the three counts are since the start of the process. */
export interface UpstreamStatus {
  registry: string
  name: string
  role: 'origin' | 'mirror'
  state: 'up' | 'open' | 'limited' | 'quarantined'
  requests: number
  errors: number
  bytes: number
  /** moving averages; 0 before the first */
  ttfbMs: number
  bytesPerSecond: number
  /** Why it is not up, and until when, ms since the epoch. */
  reason?: string | undefined
  until?: number | undefined
  /** Repositories that it refuses, and until when that is believed, ms since the epoch. */
  refusals?: readonly { repository: string; reason: string; until: number }[]
  /** Absent when the upstream never told. */
  rateLimit?: { limit: number; remaining: number; windowSeconds: number | undefined } | undefined
}

/** One upstream as it is told: why it is not asked and until when, where that is so. */
export interface UpstreamRow extends Omit<UpstreamStatus, 'until' | 'refusals'> {
  /** Absent while it is being found out whether it is up again. */
  until?: string
  refusals?: { repository: string; reason: string; until: string }[]
}

/** One garbage collection, as its part tells it. */
export interface GcRun {
  startedAt: number
  durationMs: number
  found: Readonly<Record<string, number>>
  freedBytes: number
  damaged: number
  /** Absent of a run of a version that did not count them. */
  failed?: number
  failure?: string
}

/** What is here now, whatever span is asked for. */
export interface Present {
  cache: { blobs: number; manifests: number; sizeBytes: number; maxSizeBytes: number }
  local: { repositories: number; tags: number; sizeBytes: number }
  upstreams: readonly UpstreamStatus[]
  /** The last one; undefined before the first. */
  gc: GcRun | undefined
}

export interface RequestCounts {
  /** The sum of the others. */
  total: number
  hit: number
  join: number
  miss: number
  stale: number
  error: number
}

export interface ByteCounts {
  /** Sent to clients, of the bodies of the requests that are counted. */
  served: number
  /** Of these, those of hits, joins and stale answers. */
  fromCache: number
  /** Received from upstreams. */
  fromUpstream: number
  /** What clients got beyond what upstreams sent; never negative. */
  saved: number
}

export interface TagCounts {
  /** Times that upstreams were found to differ on what a tag is, each pair of digests once in a row. */
  diverged: number
}

/** The answer to `/stats`, in the order in which it is printed. */
export interface StatsDocument {
  since: string
  uptimeSeconds: number
  requests: RequestCounts
  hitRatio: number
  byteHitRatio: number
  bytes: ByteCounts
  cache: Present['cache'] & { evictions: number; evictedBytes: number; fills: number }
  local: Present['local'] & {
    /** `blobs` that were mounted are among them; `bytes` came over the wire. */
    pushes: { blobs: number; manifests: number; bytes: number }
    /** Tags, manifests and blobs. */
    deletes: number
  }
  /** The last garbage collection; absent before the first. */
  gc?: Omit<GcRun, 'startedAt'> & { startedAt: string }
  tags: TagCounts
  upstreams: UpstreamRow[]
  registries: Record<string, { requests: RequestCounts; bytes: ByteCounts; tags: TagCounts }>
  topRepositories: { name: string; requests: number; bytesServed: number; hitRatio: number }[]
}

const TOP = 20

/** Whether whoever asks is told the name of a repository, `docker.io/library/nginx`. */
export type IsShown = (repository: string) => boolean

/** @param since where `tally` begins, ms since the epoch */
export function documentOf(
  { since, tally }: { since: number; tally: Tally },
  { cache, local, upstreams, gc }: Present,
  { uptimeMs, isShown }: { uptimeMs: number; isShown: IsShown },
): StatsDocument {
  const all = newRegistry()
  for (const counts of tally.registries.values()) add(all, counts)
  const requests = requestsOf(all)
  const bytes = bytesOf(all)
  const { blobs, manifests, sizeBytes, maxSizeBytes } = cache
  const { evictions, evictedBytes, fills } = tally.cache
  const { deletes, ...pushes } = tally.local
  return {
    since: timeOf(since),
    uptimeSeconds: Math.floor(uptimeMs / 1000),
    requests,
    hitRatio: ratio(all.hit + all.join + all.stale, requests.total - all.error),
    byteHitRatio: ratio(bytes.fromCache, bytes.served),
    bytes,
    cache: { blobs, manifests, sizeBytes, maxSizeBytes, evictions, evictedBytes, fills },
    local: { repositories: local.repositories, tags: local.tags, sizeBytes: local.sizeBytes, pushes, deletes },
    ...(gc && { gc: runOf(gc) }),
    tags: { diverged: all.diverged },
    upstreams: upstreams.map((upstream) => withCounts(upstream, tally, isShown)),
    registries: registriesOf(tally, upstreams),
    topRepositories: topOf(tally.repositories, isShown),
  }
}

function runOf({
  startedAt,
  durationMs,
  found,
  freedBytes,
  damaged,
  failed = 0,
  failure,
}: GcRun): NonNullable<StatsDocument['gc']> {
  const told = { startedAt: timeOf(startedAt), durationMs, found, freedBytes, damaged, failed }
  return failure === undefined ? told : { ...told, failure }
}

function requestsOf({ hit, join, miss, stale, error }: RegistryCounts): RequestCounts {
  return { total: hit + join + miss + stale + error, hit, join, miss, stale, error }
}

function bytesOf({ served, fromCache, fromUpstream }: RegistryCounts): ByteCounts {
  return { served, fromCache, fromUpstream, saved: Math.max(0, served - fromUpstream) }
}

function withCounts(upstream: UpstreamStatus, { upstreams }: Tally, isShown: IsShown): UpstreamRow {
  const { registry, name, role, state, reason, until, ttfbMs, bytesPerSecond, rateLimit } = upstream
  const refusals = (upstream.refusals ?? []).filter(({ repository }) => isShown(`${registry}/${repository}`))
  const { requests, errors, bytes } = upstreams.get(upstreamKey(upstream)) ?? newUpstream()
  return {
    registry,
    name,
    role,
    state,
    requests,
    errors,
    bytes,
    ttfbMs,
    bytesPerSecond,
    ...(rateLimit && { rateLimit }),
    ...(reason !== undefined && { reason }),
    ...(until !== undefined && { until: timeOf(until) }),
    ...(refusals.length > 0 && { refusals: refusals.map((each) => ({ ...each, until: timeOf(each.until) })) }),
  }
}

/** In whole seconds. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** Every registry that is configured or was counted: configured ones first, in their order. */
function registriesOf({ registries }: Tally, upstreams: readonly UpstreamStatus[]): StatsDocument['registries'] {
  const names = new Set([...upstreams.map(({ registry }) => registry), ...registries.keys()])
  return Object.fromEntries(
    [...names].map((name) => {
      const counts = registries.get(name) ?? newRegistry()
      return [name, { requests: requestsOf(counts), bytes: bytesOf(counts), tags: { diverged: counts.diverged } }]
    }),
  )
}

function topOf(
  repositories: ReadonlyMap<string, RepositoryCounts>,
  isShown: IsShown,
): StatsDocument['topRepositories'] {
  return [...repositories]
    .filter(([name]) => isShown(name))
    .sort(([, one], [, other]) => other.bytesServed - one.bytesServed || other.requests - one.requests)
    .slice(0, TOP)
    .map(([name, { requests, errors, fromCache, bytesServed }]) => ({
      name,
      requests,
      bytesServed,
      hitRatio: ratio(fromCache, requests - errors),
    }))
}

function ratio(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}
