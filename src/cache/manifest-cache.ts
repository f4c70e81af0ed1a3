import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Complaint } from '../lib/complaint.js'
import { KeyedLock } from '../lib/keyed-lock.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import { type Digest, matches } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, readManifest } from '../oci/manifest.js'
import type { Tag } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { digestFromParts, manifestLinkKey, manifestLinksPrefix, tagLinkKey } from '../storage/layout.js'
import type { Eviction } from './eviction.js'
import type { HotContent } from './hot-content.js'
import { parseTagRecord, type TagRecord } from './tag-record.js'

export interface ManifestCacheDeps {
  driver: StorageDriver
  store: BlobStore
  index: MetadataIndex
  hot: HotContent
  eviction: Eviction
  /** That storage cannot be written. */
  trouble: Complaint
  log: Logger
}

export interface CachedManifest {
  digest: Digest
  mediaType: string
  bytes: Uint8Array
  source: string | undefined
}

/** What a repository's link file says of a manifest. */
interface ManifestLink {
  mediaType: string
  source?: string | undefined
}

/** Stands for a tag that was dropped, until its file is gone. */
const GONE = 'gone'

/** Link files kept in memory. */
const LINKS_LIMIT = 20_000

/**
 * What was fetched of the manifests and tags of mirrored repositories. Answers come from memory or from disk; what is
 * put in is served at once and written behind, and a disk that cannot be written costs a log line, not an answer.
 */
export class ManifestCache {
  readonly #deps: ManifestCacheDeps
  readonly #log: Logger
  readonly #links = new LRUCache<string, ManifestLink>({ max: LINKS_LIMIT })
  readonly #tags = new LRUCache<string, TagRecord | typeof GONE>({ max: LINKS_LIMIT })
  readonly #writing = new KeyedLock<string>()
  readonly #pending = new Set<Promise<void>>()

  constructor(deps: ManifestCacheDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'manifest-cache' })
  }

  /** @param name the repository with its registry, `docker.io/library/nginx` */
  async get(name: string, digest: Digest): Promise<CachedManifest | undefined> {
    const manifest = await this.peek(name, digest)
    if (manifest) this.#deps.index.touch(digest)
    return manifest
  }

  /** As `get`, where nothing needs to be read for it. */
  inMemory(name: string, digest: Digest): CachedManifest | undefined {
    const link = this.#links.get(manifestLinkKey(name, digest))
    const bytes = link && this.#deps.hot.get(digest)
    if (!bytes) return undefined
    this.#deps.index.touch(digest)
    return { digest, mediaType: link.mediaType, bytes, source: link.source }
  }

  /** As `get`, but it does not count as used. */
  async peek(name: string, digest: Digest): Promise<CachedManifest | undefined> {
    const link = await this.#link(name, digest)
    if (!link) return undefined
    const bytes = await this.#bytes(digest)
    if (!bytes) return undefined
    return { digest, mediaType: link.mediaType, bytes, source: link.source }
  }

  /** Of the manifests that are kept of a repository on disk, in no particular order; some may be gone. */
  async digests(name: string): Promise<Digest[]> {
    const { driver } = this.#deps
    const prefix = manifestLinksPrefix(name)
    const found: Digest[] = []
    for (const entry of await driver.list(prefix)) {
      const algorithm = entry.slice(0, -1)
      for (const hex of await driver.list(`${prefix}/${algorithm}`)) {
        const digest = digestFromParts(algorithm, hex)
        if (digest) found.push(digest)
      }
    }
    return found
  }

  /** Keeps a manifest whose digest has matched. */
  put(name: string, { digest, mediaType, bytes, source }: CachedManifest): void {
    const { driver, store, index, hot, eviction } = this.#deps
    const link: ManifestLink = { mediaType, source }
    this.#links.set(manifestLinkKey(name, digest), link)
    hot.set(digest, bytes)
    this.#write(manifestLinkKey(name, digest), async () => {
      await store.put(bytes, { digest, manifest: true, source }, 'cached')
      // For the recency of its layers: using a manifest uses all it needs.
      const manifest = readManifest(bytes, mediaType)
      if (manifest) index.setChildren(digest, childrenOf(manifest))
      await driver.put(manifestLinkKey(name, digest), JSON.stringify(link))
      eviction.kick()
    })
  }

  async tag(name: string, tag: Tag): Promise<TagRecord | undefined> {
    const key = tagLinkKey(name, tag)
    if (this.#tags.has(key)) return this.#knownTag(key)
    const bytes = await this.#deps.driver.get(key)
    const record = bytes && parseTagRecord(bytes)
    // What was put or dropped meanwhile is newer than what was read.
    if (record && !this.#tags.has(key)) this.#tags.set(key, record)
    return this.#knownTag(key)
  }

  /** As `tag`, where nothing needs to be read for it. */
  tagInMemory(name: string, tag: Tag): TagRecord | undefined {
    return this.#knownTag(tagLinkKey(name, tag))
  }

  putTag(name: string, tag: Tag, record: TagRecord): void {
    const key = tagLinkKey(name, tag)
    this.#tags.set(key, record)
    this.#write(key, async () => {
      // Only the latest of several that gathered needs to be written.
      if (this.#tags.peek(key) === record) await this.#deps.driver.put(key, JSON.stringify(record))
    })
  }

  /** Forgets what a tag pointed to; the manifest stays. */
  dropTag(name: string, tag: Tag): void {
    const key = tagLinkKey(name, tag)
    this.#tags.set(key, GONE)
    this.#write(key, async () => {
      if (this.#tags.peek(key) === GONE) await this.#deps.driver.delete(key)
    })
  }

  /** Waits for what is written behind. */
  async stop(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
  }

  #knownTag(key: string): TagRecord | undefined {
    const known = this.#tags.get(key)
    return known === GONE ? undefined : known
  }

  async #link(name: string, digest: Digest): Promise<ManifestLink | undefined> {
    const key = manifestLinkKey(name, digest)
    const known = this.#links.get(key)
    if (known) return known
    const bytes = await this.#deps.driver.get(key)
    const link = bytes && parseLink(bytes)
    if (link) this.#links.set(key, link)
    return link
  }

  async #bytes(digest: Digest): Promise<Uint8Array | undefined> {
    const { store, hot } = this.#deps
    const known = hot.get(digest)
    if (known) return known
    const stored = await store.open(digest, 'cached')
    if (!stored) return undefined
    try {
      if (stored.size > MANIFEST_LIMIT) return undefined
      const bytes = Buffer.allocUnsafeSlow(stored.size)
      const count = await stored.read(bytes, 0)
      // A manifest is small enough to be checked at each reading: damage on disk reads as absent and is fetched anew.
      if (count < stored.size || !matches(digest, bytes)) return undefined
      hot.set(digest, bytes)
      return bytes
    } finally {
      await stored.close()
    }
  }

  #write(key: string, work: () => Promise<void>): void {
    const pending = this.#writing.run(key, work).catch((error: unknown) => {
      const level = this.#deps.trouble.raise() ? 'warn' : 'debug'
      this.#log[level]({ key, reason: (error as Error).message }, 'storage cannot be written: served from memory only')
    })
    this.#pending.add(pending)
    void pending.finally(() => this.#pending.delete(pending))
  }
}

function parseLink(bytes: Uint8Array): ManifestLink | undefined {
  try {
    const { mediaType, source } = JSON.parse(Buffer.from(bytes).toString()) as Partial<ManifestLink>
    return typeof mediaType === 'string'
      ? { mediaType, source: typeof source === 'string' ? source : undefined }
      : undefined
  } catch {
    return undefined
  }
}
