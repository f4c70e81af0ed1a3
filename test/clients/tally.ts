import type { Reading } from '../helpers/readers.js'

interface Counts {
  requests: { total: number; hit: number; join: number; miss: number; stale: number; error: number }
  served: number
  fromCache: number
}

type Outcome = 'hit' | 'join' | 'miss' | 'stale' | 'error'

const NONE_DIFFER = { diverged: 0 }

/** The harness's own count of what it asked and got, to be held against `/stats`. */
export class ClientTally {
  readonly #registries = new Map<string, Counts>()
  readonly #repositories = new Map<string, Counts>()

  /** One finished GET of a manifest or blob that is read through. */
  add(registry: string, repository: string, { status, cache, bytes }: Reading): void {
    const outcome = (status < 400 ? cache : 'error') as Outcome
    const served = outcome === 'error' ? 0 : bytes
    for (const counts of [
      countsIn(this.#registries, registry),
      countsIn(this.#repositories, `${registry}/${repository}`),
    ]) {
      counts.requests.total++
      counts.requests[outcome]++
      counts.served += served
      if (outcome !== 'miss') counts.fromCache += served
    }
  }

  /** `requests`, `hitRatio`, `byteHitRatio`, `bytes`, `tags`, `registries` and `topRepositories` as they must be. @param fromUpstream bytes by registry */
  document(fromUpstream: Record<string, number>) {
    const all: Counts = emptyCounts()
    for (const counts of this.#registries.values()) merge(all, counts)
    const upstreamBytes = Object.values(fromUpstream).reduce((sum, bytes) => sum + bytes, 0)
    return {
      requests: all.requests,
      hitRatio: hitRatio(all),
      byteHitRatio: all.fromCache / all.served,
      bytes: bytesOf(all, upstreamBytes),
      tags: NONE_DIFFER,
      registries: Object.fromEntries(
        [...this.#registries].map(([name, counts]) => [
          name,
          { requests: counts.requests, bytes: bytesOf(counts, fromUpstream[name] ?? 0), tags: NONE_DIFFER },
        ]),
      ),
      topRepositories: [...this.#repositories]
        .map(([name, counts]) => ({
          name,
          requests: counts.requests.total,
          bytesServed: counts.served,
          hitRatio: hitRatio(counts),
        }))
        .sort((one, other) => other.bytesServed - one.bytesServed || other.requests - one.requests),
    }
  }
}

function hitRatio({ requests: { total, hit, join, stale, error } }: Counts): number {
  return total === error ? 0 : (hit + join + stale) / (total - error)
}

function bytesOf({ served, fromCache }: Counts, fromUpstream: number) {
  return { served, fromCache, fromUpstream, saved: Math.max(0, served - fromUpstream) }
}

function emptyCounts(): Counts {
  return { requests: { total: 0, hit: 0, join: 0, miss: 0, stale: 0, error: 0 }, served: 0, fromCache: 0 }
}

function countsIn(map: Map<string, Counts>, name: string): Counts {
  const counts = map.get(name) ?? emptyCounts()
  map.set(name, counts)
  return counts
}

function merge(into: Counts, counts: Counts): void {
  for (const key of Object.keys(into.requests) as (keyof Counts['requests'])[])
    into.requests[key] += counts.requests[key]
  into.served += counts.served
  into.fromCache += counts.fromCache
}
