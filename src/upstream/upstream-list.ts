import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { Health } from './health.js'
import { RegistryClient } from './registry-client.js'
import { noTraffic, type TrafficCounts } from './traffic.js'
import { Upstream } from './upstream.js'
import type { UpstreamOptions } from './upstream-options.js'

export interface UpstreamListDeps {
  registry: string
  events: EventBus
  log: Logger
  now: () => number
}

/** The upstreams of one registry as they are configured now, and those that have left it, until nobody uses them. */
export class UpstreamList {
  readonly #deps: UpstreamListDeps
  #current: readonly Upstream[] = []
  readonly #leaving = new Set<Upstream>()
  /** By name, since the start of the process: whoever comes under a name goes on counting. */
  readonly #counts = new Map<string, TrafficCounts>()

  constructor(deps: UpstreamListDeps) {
    this.#deps = deps
  }

  /** In order of preference. */
  get current(): readonly Upstream[] {
    return this.#current
  }

  /**
   * From now on these, names unique. One with the very options that it had goes on as it is, with all that it knows; the
   * others are closed when nobody uses them any more.
   */
  replace(options: readonly UpstreamOptions[]): void {
    const before = this.#current
    this.#current = options.map(
      (each) => before.find(({ client }) => isDeepStrictEqual(client.options, each)) ?? this.#open(each),
    )
    for (const upstream of before) if (!this.#current.includes(upstream)) void this.#leave(upstream)
  }

  /** Closes all at once, those in use as well. */
  async close(): Promise<void> {
    await Promise.all([...this.#current, ...this.#leaving].map((upstream) => upstream.close()))
  }

  #open(options: UpstreamOptions): Upstream {
    const { registry, events, log, now } = this.#deps
    const counts = this.#counts.get(options.name) ?? noTraffic()
    this.#counts.set(options.name, counts)
    const client = new RegistryClient({ options, events, log, now, counts })
    const probe = (signal: AbortSignal) => client.ping(signal)
    const health = new Health({ registry, upstream: options.name, probe, events, log, now })
    return new Upstream({ client, health, log, now })
  }

  async #leave(upstream: Upstream): Promise<void> {
    this.#leaving.add(upstream)
    await upstream.unused()
    await upstream.close()
    this.#leaving.delete(upstream)
  }
}
