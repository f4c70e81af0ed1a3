import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { BlobCache } from '../cache/blob-cache.js'
import type { CachedManifest, ManifestCache } from '../cache/manifest-cache.js'
import type { Digest } from '../oci/digest.js'
import { type Manifest, readManifest } from '../oci/manifest.js'
import type { Repository } from '../oci/reference.js'
import type { UpstreamGroup } from '../upstream/upstream-group.js'
import type { ManifestFetcher } from './manifest-fetcher.js'
import type { PlatformsInUse } from './platforms-in-use.js'
import type { PrefetchQueue } from './prefetch-queue.js'

export interface PrefetchDeps {
  group: UpstreamGroup
  blobs: BlobCache
  manifests: ManifestCache
  fetcher: ManifestFetcher
  platforms: PlatformsInUse
  queue: PrefetchQueue
  /** Whether a client's GET of a manifest makes it followed. */
  onPull: boolean
  /** Larger blobs wait until somebody asks for them. */
  maxBlobBytes: () => number
  log: Logger
  now: () => number
}

/** A manifest that is asked for by many is looked at so often at most. */
const LOOK_EVERY_MS = 10_000
const LOOKED_LIMIT = 10_000

/**
 * Fetches what a manifest leads to before anybody asks: of an index the manifests of the platforms in use, of a manifest
 * its config and layers, in the order in which clients ask for them.
 */
export class Prefetch {
  readonly #deps: PrefetchDeps
  readonly #log: Logger
  readonly #lookedAt = new LRUCache<string, number>({ max: LOOKED_LIMIT })

  constructor(deps: PrefetchDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'prefetch' })
  }

  /** A client was given this manifest; what follows is not awaited. */
  served(repository: Repository, digest: Digest): void {
    const { platforms, fetcher, now } = this.#deps
    platforms.asked(digest)
    const key = `${fetcher.nameOf(repository)}@${digest}`
    if (Math.abs(now() - (this.#lookedAt.get(key) ?? 0)) < LOOK_EVERY_MS) return
    this.#lookedAt.set(key, now())
    void this.#look(repository, digest).catch((error: unknown) =>
      this.#log.debug({ repository, digest, reason: (error as Error).message }, 'not fetched ahead'),
    )
  }

  /** Queues what is not here yet of what the manifest leads to. */
  follow(repository: Repository, { bytes, mediaType }: CachedManifest): void {
    const { platforms } = this.#deps
    const manifest = readManifest(bytes, mediaType)
    if (!manifest) return
    platforms.learn(manifest)
    for (const { digest } of platforms.among(manifest)) this.#queuePlatform(repository, digest)
    this.#queueBlobs(repository, manifest)
  }

  async #look(repository: Repository, digest: Digest): Promise<void> {
    const { manifests, fetcher, platforms, onPull } = this.#deps
    const cached = await manifests.peek(fetcher.nameOf(repository), digest)
    if (!cached) return
    if (onPull) return this.follow(repository, cached)
    const manifest = readManifest(cached.bytes, cached.mediaType)
    if (manifest) platforms.learn(manifest)
  }

  /** An index below an index is not followed further, so that no registry can send us on without end. */
  #queuePlatform(repository: Repository, digest: Digest): void {
    const { fetcher, queue } = this.#deps
    queue.add(`${fetcher.nameOf(repository)}@${digest}`, async () => {
      const { manifest } = await fetcher.get(repository, digest)
      const parsed = readManifest(manifest.bytes, manifest.mediaType)
      if (parsed) this.#queueBlobs(repository, parsed)
    })
  }

  #queueBlobs(repository: Repository, { blobs: descriptors }: Manifest): void {
    const { blobs, fetcher, group, queue, maxBlobBytes } = this.#deps
    const name = fetcher.nameOf(repository)
    const mostBytes = maxBlobBytes()
    for (const { digest, size, urls } of descriptors) {
      // Foreign layers are at no registry.
      if (urls?.length || size > mostBytes || blobs.holds(digest)) continue
      queue.add(digest, () => blobs.fetchAhead(digest, name, () => group.openTransfer(repository, digest, size)))
    }
  }
}
