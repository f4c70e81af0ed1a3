import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { AccessPolicy } from './auth/access-policy.js'
import { Login } from './auth/login.js'
import { BlobCache } from './cache/blob-cache.js'
import { Eviction } from './cache/eviction.js'
import { HotContent } from './cache/hot-content.js'
import { ManifestCache } from './cache/manifest-cache.js'
import { PartFolder } from './cache/part-folder.js'
import type { Config } from './config/config.js'
import { EventBus } from './events.js'
import { GarbageCollection } from './gc/garbage-collection.js'
import { drain } from './http/drain.js'
import { createServer } from './http/server.js'
import { blobWriteHandlers } from './http/v2/blob-writes.js'
import { blobHandlers } from './http/v2/blobs.js'
import { referrerHandlers, tagHandlers } from './http/v2/listings.js'
import { manifestWriteHandlers } from './http/v2/manifest-writes.js'
import { manifestHandlers } from './http/v2/manifests.js'
import { uploadHandlers } from './http/v2/uploads.js'
import { BufferPool } from './lib/buffer-pool.js'
import { Complaint } from './lib/complaint.js'
import { Periodic } from './lib/periodic.js'
import { BlobStore } from './metadata/blob-store.js'
import { openIndex } from './metadata/open-index.js'
import { Reconciliation } from './metadata/reconciliation.js'
import type { SqlIndex } from './metadata/sql-index.js'
import type { Repository } from './oci/reference.js'
import { MirroredRegistries, type RegistrySettings } from './proxy/mirrored-registries.js'
import { PrefetchQueue } from './proxy/prefetch-queue.js'
import { immutableTags } from './registry/immutable-tags.js'
import { LocalRegistry } from './registry/local-registry.js'
import { RouteTable } from './routing/route-table.js'
import { Statistics } from './stats/statistics.js'
import { isMirrored, isPushedTo } from './storage/layout.js'
import { prepareStorage, type Storage, StorageError } from './storage/prepare.js'

export { StorageError }

const FLUSH_EVERY_MS = 5_000
const SWEEP_EVERY_MS = 10 * 60_000
const HOT_TAGS_EVERY_MS = 2_000
/** Of `storage.maxSize`, what a blob may have that nobody has asked for yet. */
const PREFETCHED_SHARE = 0.25
/** A part file that nobody has continued for so long goes. */
const PART_FILE_AGE_MS = 24 * 3_600_000
const STREAM_BUFFER = { sizeBytes: 256 * 1024, keep: 64 }

export interface App {
  /** @returns the address it listens on */
  listen(): Promise<AddressInfo>
  /**
   * Puts a configuration into effect at once, and interrupts nothing. Of what cannot change while it runs (planReload
   * leaves that alone) it takes no notice.
   */
  apply(config: Config): void
  /** Takes no new requests, lets running ones end for a while, keeps part files, closes what was opened. */
  close(): Promise<void>
}

/**
 * Wires the whole mirror. The one place that knows every class; nothing here decides anything.
 *
 * @throws {StorageError} when `storage.path` cannot be used
 */
export async function buildApp(config: Config, log: Logger, now: () => number = Date.now): Promise<App> {
  const storage = await prepareStorage(config.storage.path)
  const events = new EventBus({ onListenerError: (err) => log.error({ err }, 'an observer failed') })
  const index = openIndex({ ...storage, log, now })
  const isLocal = (name: string) => isPushedTo(name, config.local.namespaces)
  // A namespace that is taken out of the configuration keeps what it has.
  const isPushed = (name: string) => !isMirrored(name)
  const reconciliation = new Reconciliation({ ...index, driver: storage.driver, isLocal: isPushed, log })
  const { trusted } = reconciliation
  if (index.fresh) await reconciliation.run()

  const store = new BlobStore({ driver: storage.driver, index: index.index })
  const hot = new HotContent(config.storage)
  const canonical = (repository: Repository) => live.routes.nameOf(repository)
  const isImmutable: ReturnType<typeof immutableTags> = (...tag) => live.isImmutable(...tag)
  const parts = { ...storage, store, index: index.index, trusted, events, log, now }
  const segments = () => live.config.upstream.segments
  const cache = await buildCache({ ...parts, config, segments, storage, hot })
  const local = new LocalRegistry({ ...parts, ...config.local, canonical, isImmutable, room: cache.eviction, hot })
  const { changes } = local
  const garbage = new GarbageCollection({ ...parts, changes, isLocal, policy: () => live.config.gc })
  events.on('blob.collected', ({ digest }) => hot.delete(digest))
  const { blobs, manifests } = cache
  const queue = new PrefetchQueue({
    concurrency: () => live.config.prefetch.concurrency,
    mayStart: () => blobs.clientFills < live.config.prefetch.clientDownloads,
    log,
  })
  const maxAheadBytes = () => cache.eviction.maxSizeBytes * PREFETCHED_SHARE
  const random = Math.random
  const hasAccessRules = () => live.policy.restrictsMirrored
  const reads = { blobs, manifests, maxAheadBytes, hasAccessRules, queue, events, log, now, random }
  const mirrored = new MirroredRegistries(reads)
  const login = new Login({ keyFile: storage.tokenKeyFile, log, now })
  /** What requests see of the configuration: replaced as a whole, so that none sees half of another one. */
  const settle = (config: Config) => {
    mirrored.configure(registrySettings(config))
    login.configure(config.auth)
    const policy = new AccessPolicy({ ...config.auth, login: config.auth?.htpasswd !== undefined })
    const isImmutable = immutableTags(config.local.immutableTags)
    return { config, policy, isImmutable, routes: buildRoutes({ config, mirrored, local }) }
  }
  let live = settle(config)
  const statistics = new Statistics({
    events,
    store: index.index,
    log,
    now,
    cache: () => ({
      ...index.index.cacheTotals(),
      sizeBytes: cache.eviction.sizeBytes,
      maxSizeBytes: cache.eviction.maxSizeBytes,
    }),
    local: () => ({ ...local.totals(), sizeBytes: index.index.pushedBytes() }),
    gc: () => garbage.collector.last,
    upstreams: () => mirrored.standings(),
  })

  let closing: Promise<void> | undefined
  const server = createServer({
    v2: {
      get resolver() {
        return live.routes
      },
      get policy() {
        return live.policy
      },
      get realm() {
        return live.config.auth?.realm
      },
      login,
      catalog: local,
      handlers: {
        blob: { ...blobHandlers({ pool: new BufferPool(STREAM_BUFFER) }), ...blobWriteHandlers(local) },
        manifest: { ...manifestHandlers(), ...manifestWriteHandlers(local) },
        tags: tagHandlers(),
        referrers: referrerHandlers(),
        ...uploadHandlers(local),
      },
    },
    operations: {
      stats: (windowMs, isShown) => statistics.snapshot(windowMs, isShown),
      unready: () => (closing ? 'the server is stopping' : undefined),
    },
    admin: { policy: () => live.policy, login, collector: garbage.collector },
    log,
    events,
    access: config.log.access,
    now,
  })

  events.on('blob.settled', () => queue.wake())
  events.on('content.served', ({ content, registry, repository, digest, bytes }) => {
    // A 304 has no body: that client has got what the manifest leads to.
    if (content === 'manifest' && bytes > 0 && registry) mirrored.served(registry, repository, digest)
  })

  const onError = (err: unknown) => log.error({ err }, 'background work failed')
  const periodic = [
    new Periodic({ everyMs: FLUSH_EVERY_MS, work: () => index.index.flush(), onError }).start(),
    new Periodic({ everyMs: HOT_TAGS_EVERY_MS, work: () => mirrored.recheckHotTags(), onError }).start(),
    new Periodic({ everyMs: SWEEP_EVERY_MS, work: () => cache.parts.sweep(now() - PART_FILE_AGE_MS), onError }).start(),
  ]
  await local.start()
  garbage.start()
  statistics.start()
  cache.eviction.kick()
  // After an unclean end rows may be missing for what was published last: they are found off the request path.
  reconciliation.start()

  const close = async () => {
    queue.stop()
    await Promise.all([drain(server), garbage.stop(), reconciliation.stop()])
    await Promise.all(periodic.map((each) => each.stop()))
    await cache.blobs.stop()
    await cache.manifests.stop()
    await cache.eviction.stop()
    await local.stop()
    await mirrored.close()
    await statistics.stop()
    index.index.close()
    storage.lock.release()
  }

  return {
    async listen() {
      const { host, port } = config.server
      await server.listen({ host, port })
      return server.server.address() as AddressInfo
    },

    apply(config) {
      if (closing) return
      live = settle(config)
      cache.eviction.resize(config.storage)
      queue.wake()
    },

    close() {
      closing ??= close()
      return closing
    },
  }
}

interface CacheParts {
  config: Config
  segments: () => Config['upstream']['segments']
  storage: Storage
  store: BlobStore
  index: SqlIndex
  hot: HotContent
  events: EventBus
  log: Logger
  trusted: Promise<void>
}

async function buildCache({ config, segments, storage, store, index, hot, events, log, trusted }: CacheParts) {
  const { maxSizeBytes, lowWatermark } = config.storage
  const parts = await PartFolder.open(storage.fillsDir)
  const eviction = new Eviction({ store, index, parts, hot, events, log, trusted, maxSizeBytes, lowWatermark })
  const trouble = new Complaint()
  const blobs = new BlobCache({ store, index, parts, hot, eviction, events, trouble, log, segments })
  const manifests = new ManifestCache({ driver: storage.driver, store, index, hot, eviction, trouble, log })
  return { parts, eviction, blobs, manifests }
}

/** Each registry with all that its behaviour depends on. */
function registrySettings({ registries, upstream, prefetch }: Config): RegistrySettings[] {
  const { segments: _segments, ...budgets } = upstream
  const { blobs, hotTags, hotAfter, checksPerMinute } = prefetch
  return registries.map(({ name, tags, negativeTtlMs, upstreams }) => ({
    name,
    upstreams: upstreams.map((each) => ({ ...each, registry: name })),
    policy: { tags, negativeTtlMs, ...budgets, prefetch: { blobs, hotTags, hotAfter, checksPerMinute } },
  }))
}

interface RouteParts {
  config: Config
  mirrored: MirroredRegistries
  local: LocalRegistry
}

function buildRoutes({ config, mirrored, local }: RouteParts): RouteTable {
  const registries = config.registries.map(({ name, aliases, attach }) => {
    const registry = mirrored.get(name)!
    const source = (repository: Repository) =>
      local.beside(`${name}/${repository}` as Repository, registry.repository(repository))
    return { name, aliases, attach, source }
  })
  return new RouteTable({
    registries,
    defaultRegistry: config.registries.find((registry) => registry.default)!.name,
    localNamespaces: config.local.namespaces,
    local: (repository) => local.source(repository),
  })
}
