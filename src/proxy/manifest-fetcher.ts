import { LRUCache } from 'lru-cache'
import type { CachedManifest, ManifestCache } from '../cache/manifest-cache.js'
import { SingleFlight } from '../lib/single-flight.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import type { FetchedManifest } from '../upstream/registry-client.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import { DescriptorSizes } from './descriptor-sizes.js'
import type { NegativeCache } from './negative-cache.js'
import { isAuthoritativeAbsence } from './translate.js'

/** Of a repository with more cached manifests not all are read again after a restart. */
const RECALLED_MANIFESTS = 2_000
const RECALLED_REPOSITORIES = 10_000

export interface ManifestFetcherDeps {
  group: UpstreamGroup
  manifests: ManifestCache
  negative: NegativeCache
  /** Within it an upstream must have answered, in milliseconds. */
  budgetMs: number
}

export interface Fetched {
  manifest: CachedManifest
  outcome: 'hit' | 'join' | 'miss'
}

/** Manifests of one registry by digest: from the cache, or fetched once for all who ask. */
export class ManifestFetcher {
  readonly #deps: ManifestFetcherDeps
  readonly #fetching = new SingleFlight<CachedManifest>()
  readonly #running = new Set<string>()
  readonly #sizes = new DescriptorSizes()
  readonly #recalled = new LRUCache<string, Promise<void>>({ max: RECALLED_REPOSITORIES })

  constructor(deps: ManifestFetcherDeps) {
    this.#deps = deps
  }

  async get(repository: Repository, digest: Digest): Promise<Fetched> {
    const cached = await this.cached(repository, digest)
    if (cached) return { manifest: cached, outcome: 'hit' }
    const key = `${this.nameOf(repository)}@${digest}`
    const outcome = this.#running.has(key) ? 'join' : 'miss'
    this.#running.add(key)
    try {
      return { manifest: await this.#fetching.run(key, () => this.#fetch(repository, digest, key)), outcome }
    } finally {
      this.#running.delete(key)
    }
  }

  /** What is here of it; nobody is asked. */
  async cached(repository: Repository, digest: Digest): Promise<CachedManifest | undefined> {
    const name = this.nameOf(repository)
    const manifest = await this.#deps.manifests.get(name, digest)
    if (manifest) this.#sizes.learn(name, manifest)
    return manifest
  }

  /** As `cached`, where nothing needs to be read for it. */
  inMemory(repository: Repository, digest: Digest): CachedManifest | undefined {
    const name = this.nameOf(repository)
    const manifest = this.#deps.manifests.inMemory(name, digest)
    if (manifest) this.#sizes.learn(name, manifest)
    return manifest
  }

  /** Keeps a manifest that came with a tag. */
  keep(repository: Repository, { digest, mediaType, bytes, upstream }: FetchedManifest): CachedManifest {
    const manifest = { digest, mediaType, bytes, source: upstream }
    const name = this.nameOf(repository)
    this.#deps.manifests.put(name, manifest)
    this.#sizes.learn(name, manifest)
    return manifest
  }

  /** What the repository's manifests say of a blob's size, in bytes. */
  sizeOf(repository: Repository, digest: Digest): number | undefined {
    return this.#sizes.of(this.nameOf(repository), digest)
  }

  /** Has `sizeOf` know what an earlier process has learnt: reads the manifests that are here of the repository, once. */
  recall(repository: Repository): Promise<void> {
    const name = this.nameOf(repository)
    const known = this.#recalled.get(name)
    if (known) return known
    const recalling = this.#recall(name)
    this.#recalled.set(name, recalling)
    // Whoever asks next reads again what could not be read.
    recalling.catch(() => this.#recalled.delete(name))
    return recalling
  }

  async #recall(name: string): Promise<void> {
    const { manifests } = this.#deps
    const digests = await manifests.digests(name)
    for (const digest of digests.slice(0, RECALLED_MANIFESTS)) {
      const manifest = await manifests.peek(name, digest)
      if (manifest) this.#sizes.learn(name, manifest)
    }
  }

  /** The repository's name on disk and in the statistics. */
  nameOf(repository: Repository): string {
    return `${this.#deps.group.registry}/${repository}`
  }

  async #fetch(repository: Repository, digest: Digest, key: string): Promise<CachedManifest> {
    const { group, negative, budgetMs } = this.#deps
    negative.check(key)
    try {
      const signal = AbortSignal.timeout(budgetMs)
      const fetched = await group.getManifest(repository, { kind: 'digest', digest }, { among: 'all', signal })
      return this.keep(repository, fetched)
    } catch (error) {
      if (isAuthoritativeAbsence(error)) negative.remember(key, error)
      throw error
    }
  }
}
