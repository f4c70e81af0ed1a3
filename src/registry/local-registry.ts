import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { Periodic } from '../lib/periodic.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { Repository } from '../oci/reference.js'
import type { ContentSource, PageRequest } from '../routing/content-source.js'
import type { StorageDriver } from '../storage/driver.js'
import { repositoriesIn } from './catalog.js'
import { FallbackTags, MadeIndexes } from './fallback-tags.js'
import { type ContentMemory, LocalContent } from './local-content.js'
import { LocalSource } from './local-source.js'
import { Manifests } from './manifests.js'
import { PushedRepository } from './pushed-repository.js'
import { RepositoryLinks } from './repository-links.js'
import { Totals } from './totals.js'
import { Uploads } from './uploads.js'

const SWEEP_EVERY_MS = 10 * 60_000

export interface LocalRegistryDeps {
  driver: StorageDriver
  store: BlobStore
  index: MetadataIndex
  /** Small content in memory, shared with whoever else serves by digest. */
  hot: ContentMemory
  /** First components of the names that are pushed to. */
  namespaces: readonly string[]
  /** A local folder on the storage's own file system, for uploads alone. */
  uploadsDir: string
  events: EventBus
  log: Logger
  now: () => number
}

/** The registry of what was pushed here: never asked upstream, never evicted. `start` it before the first request. */
export class LocalRegistry {
  readonly uploads: Uploads
  readonly manifests: Manifests
  readonly #driver: StorageDriver
  readonly #namespaces: readonly string[]
  readonly #content: LocalContent
  readonly #made = new MadeIndexes()
  readonly #totals: Totals
  readonly #sweeping: Periodic

  constructor({ driver, store, index, hot, namespaces, uploadsDir, events, log, now }: LocalRegistryDeps) {
    const links = (repository: Repository) => new RepositoryLinks({ repository, driver })
    const isLocal = (repository: string) => namespaces.includes(repository.split('/', 1)[0] ?? '')
    this.#driver = driver
    this.#namespaces = namespaces
    this.#content = new LocalContent({ store, hot })
    this.#totals = new Totals({ driver })
    this.uploads = new Uploads({ dir: uploadsDir, store, events, links, isLocal, now })
    this.manifests = new Manifests({ store, index, content: this.#content, totals: this.#totals, events, links })
    this.#sweeping = new Periodic({
      everyMs: SWEEP_EVERY_MS,
      work: () => this.uploads.sweep(),
      onError: (err) => log.error({ module: 'registry', err }, 'sweeping abandoned uploads failed'),
    })
  }

  /** Finds the uploads that an earlier process left, and counts what is here. */
  async start(): Promise<void> {
    await this.uploads.start()
    await this.#totals.start(this.#namespaces)
    this.#sweeping.start()
  }

  async stop(): Promise<void> {
    await this.#sweeping.stop()
  }

  source(repository: Repository): ContentSource {
    const links = new RepositoryLinks({ repository, driver: this.#driver })
    const source = new LocalSource({ pushed: new PushedRepository({ links, content: this.#content }) })
    return new FallbackTags({ repository, source, made: this.#made })
  }

  /** The catalog: names in lexical order, read from the folders as far as the page goes. */
  async repositories({ n, last }: PageRequest): Promise<{ repositories: Repository[]; more: boolean }> {
    const repositories: Repository[] = []
    for await (const repository of repositoriesIn(this.#driver, this.#namespaces, last)) {
      if (repositories.length === n) return { repositories, more: true }
      repositories.push(repository)
    }
    return { repositories, more: false }
  }

  totals(): { repositories: number; tags: number } {
    return this.#totals.value
  }
}
