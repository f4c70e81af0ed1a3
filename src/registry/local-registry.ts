import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { Periodic } from '../lib/periodic.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { ContentSource, PageRequest } from '../routing/content-source.js'
import type { StorageDriver } from '../storage/driver.js'
import { attachedRoot, isMirrored, isPushedTo, repositoryOf } from '../storage/layout.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import { AttachedSource } from './attached-source.js'
import { Attachments } from './attachments.js'
import { BlobDeletion } from './blob-deletion.js'
import { BlobPlaces } from './blob-places.js'
import { Directory } from './directory.js'
import { DiskGuard, type RoomMaker } from './disk-guard.js'
import { FallbackTags, MadeIndexes } from './fallback-tags.js'
import { type ContentMemory, LocalContent } from './local-content.js'
import { LocalSource } from './local-source.js'
import { Manifests } from './manifests.js'
import type { Sparse } from './missing-children.js'
import { Mounts } from './mounts.js'
import { PushedRepository } from './pushed-repository.js'
import { RepositoryLinks } from './repository-links.js'
import { Uploads } from './uploads.js'

const SWEEP_EVERY_MS = 10 * 60_000
/** Repositories in which a blob is looked for that is to be mounted from anywhere. */
const LOOKED_AT = 64

export interface LocalRegistryDeps {
  driver: StorageDriver
  store: BlobStore
  index: MetadataIndex
  /** Small content in memory, shared with whoever else serves by digest. */
  hot: ContentMemory
  /** First components of the names that are pushed to. */
  namespaces: readonly string[]
  /**
   * What a client means by a name, `docker.io/library/nginx` by `nginx`; undefined where no such registry is known.
   * Left out, names are what they say.
   */
  canonical?: (repository: Repository) => Repository | undefined
  /** A local folder on the storage's own file system, for uploads alone. */
  uploadsDir: string
  sparse: Sparse
  /** Bytes of the disk that uploads leave. */
  minFreeBytes: number
  /** Gives up what can be had again for what is pushed. */
  room: RoomMaker
  uploads: UploadSettings
  /** Whether a tag, once it is there, may be neither moved nor deleted. */
  isImmutable: (repository: Repository, tag: Tag) => boolean
  events: EventBus
  log: Logger
  now: () => number
}

export interface UploadSettings {
  /** An upload that nobody has continued for so long is given up. */
  expireMs: number
  /** Uploads that one client may have open at a time; 0: any number. */
  perClient: number
  /** What clients are asked to send at least in a chunk, in bytes; 0: nothing is asked. */
  chunkMinLength: number
}

/**
 * The registry of what was pushed here, to local repositories and as referrers to mirrored ones: never asked upstream,
 * never evicted. `start` it before the first request.
 */
export class LocalRegistry {
  readonly uploads: Uploads
  readonly mounts: Mounts
  readonly manifests: Manifests
  readonly blobs: BlobDeletion
  readonly attachments: Attachments
  /** To be told when an upload begins. */
  readonly chunkMinLength: number
  readonly #driver: StorageDriver
  readonly #namespaces: readonly string[]
  readonly #content: LocalContent
  readonly #made = new MadeIndexes()
  /** Mirrored repositories to which something was pushed; of all others no file need be looked at. */
  readonly #attached = new Set<string>()
  readonly #directory: Directory
  readonly #sweeping: Periodic

  constructor(deps: LocalRegistryDeps) {
    const { driver, store, index, hot, namespaces, canonical, uploadsDir, events, log, now } = deps
    const links = (repository: Repository) => {
      if (isMirrored(repository)) this.#attached.add(repository)
      return new RepositoryLinks({ repository, driver })
    }
    const locate = (from: Repository) => {
      const name = canonical ? canonical(from) : from
      return name && (isPushedTo(name, namespaces) || this.#attached.has(name)) ? name : undefined
    }
    this.#driver = driver
    this.#namespaces = namespaces
    const content = new LocalContent({ store, hot })
    const directory = new Directory({ driver, links })
    this.#content = content
    this.#directory = directory
    this.chunkMinLength = deps.uploads.chunkMinLength
    const guard = new DiskGuard({ ...deps, folder: uploadsDir })
    const places = new BlobPlaces({ near: (repository) => directory.near(repository, LOOKED_AT) })
    this.mounts = new Mounts({ store, events, links, locate, places, guard })
    const link = (repository: Repository, digest: Digest) => this.mounts.link(repository, digest)
    this.uploads = new Uploads({ ...deps.uploads, dir: uploadsDir, store, events, link, guard, now })
    const { sparse, isImmutable } = deps
    const parts = { store, index, content, directory, events, links, guard, log, now }
    this.manifests = new Manifests({ ...parts, sparse, isImmutable })
    this.blobs = new BlobDeletion({ content, manifests: this.manifests, links, events })
    this.attachments = new Attachments({ uploads: this.uploads, content, links })
    this.#sweeping = new Periodic({
      everyMs: SWEEP_EVERY_MS,
      work: () => this.uploads.sweep(),
      onError: (err) => log.error({ module: 'registry', err }, 'sweeping abandoned uploads failed'),
    })
  }

  /** Finds the uploads that an earlier process left, and counts what is here. */
  async start(): Promise<void> {
    await this.uploads.start()
    await this.#directory.start(this.#namespaces)
    for await (const name of repositoriesOnDisk(this.#driver, attachedRoot)) {
      this.#attached.add(repositoryOf(name))
    }
    this.#sweeping.start()
  }

  async stop(): Promise<void> {
    await this.#sweeping.stop()
  }

  /** For whoever takes away what nothing needs. */
  get changes(): Pick<Manifests, 'alone' | 'still'> & Pick<Uploads, 'isUploading'> {
    const { manifests, uploads } = this
    return {
      alone: (repository, work) => manifests.alone(repository, work),
      still: (repository, work) => manifests.still(repository, work),
      isUploading: (repository, since) => uploads.isUploading(repository, since),
    }
  }

  source(repository: Repository): ContentSource {
    const source = new LocalSource({ pushed: this.#pushed(repository), directory: this.#directory })
    return new FallbackTags({ repository, source, made: this.#made })
  }

  /**
   * A repository that is read through, with what was pushed to it here.
   *
   * @param repository with its registry, `docker.io/library/nginx`
   */
  beside(repository: Repository, upstream: ContentSource): ContentSource {
    const source = this.#attached.has(repository)
      ? new AttachedSource({ pushed: this.#pushed(repository), upstream })
      : upstream
    return new FallbackTags({ repository, source, made: this.#made })
  }

  /** The catalog: names in lexical order, of those that are shown. */
  repositories(
    page: PageRequest,
    isShown: (repository: Repository) => boolean = () => true,
  ): { repositories: Repository[]; more: boolean } {
    return this.#directory.page(page, isShown)
  }

  totals(): { repositories: number; tags: number } {
    return this.#directory.totals
  }

  #pushed(repository: Repository): PushedRepository {
    const links = new RepositoryLinks({ repository, driver: this.#driver })
    return new PushedRepository({ links, content: this.#content })
  }
}
