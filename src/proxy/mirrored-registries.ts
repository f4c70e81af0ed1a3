import { isDeepStrictEqual } from 'node:util'
import { steady } from '../lib/steady-clock.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import type { UpstreamOptions } from '../upstream/registry-client.js'
import type { UpstreamStanding } from '../upstream/upstream.js'
import { createUpstreamGroup, type UpstreamGroup } from '../upstream/upstream-group.js'
import { MirroredRegistry, type MirroredRegistryDeps, type RegistryPolicy } from './mirrored-registry.js'

/** One registry as it is configured: plain values, so that two can be compared. */
export interface RegistrySettings {
  /** `docker.io` */
  name: string
  /** In order of preference. */
  upstreams: readonly UpstreamOptions[]
  policy: RegistryPolicy
}

export interface MirroredRegistriesDeps extends Omit<MirroredRegistryDeps, 'group' | 'policy' | 'isRestricted'> {
  /** Whether access to one repository may differ from that to another, as configured now. */
  hasAccessRules: () => boolean
}

interface Entry {
  settings: RegistrySettings
  group: UpstreamGroup
  registry: MirroredRegistry
}

/** Every registry that is read through, as configured last. */
export class MirroredRegistries {
  readonly #deps: MirroredRegistriesDeps
  #entries: ReadonlyMap<string, Entry> = new Map()
  /** Of those that were configured once as well: their upstreams may still be in use. */
  readonly #groups = new Map<string, UpstreamGroup>()

  constructor(deps: MirroredRegistriesDeps) {
    this.#deps = deps
  }

  /**
   * From now on these, names unique. One with the very settings that it had stays as it is, with all that it remembers;
   * of the others the upstreams that are as they were stay, and what leaves is closed when it is no longer in use.
   */
  configure(all: readonly RegistrySettings[]): void {
    const before = this.#entries
    this.#entries = new Map(all.map((settings) => [settings.name, this.#entry(settings, before.get(settings.name))]))
    for (const [name, { group }] of before) if (!this.#entries.has(name)) group.configure([])
  }

  get(name: string): MirroredRegistry | undefined {
    return this.#entries.get(name)?.registry
  }

  /** A client was given a manifest to its end. */
  served(name: string, repository: Repository, digest: Digest): void {
    this.get(name)?.served(repository, digest)
  }

  /** Begins the checks of hot tags that are due. */
  async recheckHotTags(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ registry }) => registry.recheckHotTags()))
  }

  /** Of every upstream, in the order of the configuration. */
  standings(): (UpstreamStanding & { registry: string })[] {
    return [...this.#entries].flatMap(([registry, { group }]) =>
      group.states().map((state) => ({ registry, ...state })),
    )
  }

  /** Closes every upstream at once. */
  async close(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => group.close()))
  }

  #entry(settings: RegistrySettings, before: Entry | undefined): Entry {
    if (before && isDeepStrictEqual(before.settings, settings)) return before
    const { name, upstreams, policy } = settings
    const group = this.#group(name)
    if (!isDeepStrictEqual(before?.settings.upstreams, upstreams)) group.configure(upstreams)
    return {
      settings,
      group,
      registry: new MirroredRegistry({ ...this.#deps, group, policy, isRestricted: () => this.#isRestricted() }),
    }
  }

  /** Of all registries together: upstreams of two may have one name, and where a blob came from can be forgotten. */
  #isRestricted(): boolean {
    return this.#hasSecrets() || this.#deps.hasAccessRules()
  }

  /** Whether any upstream is asked with credentials: what comes from there may be private. */
  #hasSecrets(): boolean {
    const upstreams = [...this.#entries.values()].flatMap(({ settings }) => settings.upstreams)
    return upstreams.some(({ username, credentials = [] }) => username !== undefined || credentials.length > 0)
  }

  #group(name: string): UpstreamGroup {
    const known = this.#groups.get(name)
    if (known) return known
    const { events, log, now } = this.#deps
    const group = createUpstreamGroup({ registry: name, upstreams: [], events, log, now: steady(now) })
    this.#groups.set(name, group)
    return group
  }
}
