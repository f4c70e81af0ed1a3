import { LRUCache } from 'lru-cache'
import { groupsOf } from '../lib/groups.js'
import { byCodeUnits, firstAfter, insert, remove } from '../lib/sorted.js'
import type { Repository, Tag } from '../oci/reference.js'
import type { PageRequest } from '../routing/content-source.js'
import type { StorageDriver } from '../storage/driver.js'
import { isMirrored, repositoryPrefix, tagLinksPrefix } from '../storage/layout.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import type { RepositoryLinks } from './repository-links.js'
import { tagOrder } from './tags.js'

/** Tags whose lists are kept in memory, of all repositories together. */
const TAGS_KEPT = 500_000
/** At the start. */
const COUNTED_TOGETHER = 64

export interface DirectoryDeps {
  driver: StorageDriver
  links: (repository: Repository) => RepositoryLinks
}

/**
 * Which local repositories there are and which tags they have, in memory: read from the link files at the start, or when
 * first asked for, and changed with them from then on. Nobody else writes them while this process runs (store-lock.ts).
 */
export class Directory {
  readonly #deps: DirectoryDeps
  /** How many tags each has. */
  readonly #counts = new Map<Repository, number>()
  /** The names in order; undefined after one came or went. */
  #names: Repository[] | undefined
  #sum = 0
  readonly #tags = new LRUCache<Repository, Tag[]>({
    maxSize: TAGS_KEPT,
    sizeCalculation: (tags) => tags.length + 1,
  })
  /** The list that will be kept; it is not if it was taken away from here meanwhile. */
  readonly #reading = new Map<Repository, Promise<Tag[]>>()

  constructor(deps: DirectoryDeps) {
    this.#deps = deps
  }

  async start(namespaces: readonly string[]): Promise<void> {
    for (const namespace of namespaces) {
      for await (const names of groupsOf(repositoriesOnDisk(this.#deps.driver, namespace), COUNTED_TOGETHER)) {
        await Promise.all(names.map((name) => this.recount(name as Repository)))
      }
    }
  }

  get totals(): { repositories: number; tags: number } {
    return { repositories: this.#counts.size, tags: this.#sum }
  }

  /** The repositories that hold a manifest or a tag, in the order of their whole names. */
  page({ n = Number.POSITIVE_INFINITY, last = '' }: PageRequest, isShown: (repository: Repository) => boolean) {
    const names = this.#inOrder()
    const repositories: Repository[] = []
    for (let at = firstAfter(names, last as Repository, byCodeUnits); at < names.length; at++) {
      if (!isShown(names[at]!)) continue
      if (repositories.length >= n) return { repositories, more: true }
      repositories.push(names[at]!)
    }
    return { repositories, more: false }
  }

  /** At most `n` of those that a page can have, with the names next to that of `repository`, half of them before it. */
  near(repository: Repository, n: number): Repository[] {
    const names = this.#inOrder()
    const at = firstAfter(names, repository, byCodeUnits)
    return names.slice(Math.max(0, at - n / 2), at + n / 2)
  }

  /** In the specification's order; not to be changed by the caller. */
  tags(repository: Repository): Tag[] | Promise<Tag[]> {
    return this.#tags.get(repository) ?? this.#read(repository)
  }

  /** To be called after a manifest was put, with the tag that it was put under. */
  async added(repository: Repository, tag: Tag | undefined): Promise<void> {
    if (isMirrored(repository)) return
    if (!tag) return this.#count(repository, this.#counts.get(repository) ?? 0)
    const known = this.#tags.get(repository)
    // A list that is being read may miss it.
    if (!known) this.#reading.delete(repository)
    const tags = known ?? (await this.tags(repository))
    // Set anew, so that its size is taken again.
    if (insert(tags, tag, tagOrder) && known) this.#tags.set(repository, tags)
    this.#count(repository, tags.length)
  }

  /** To be called after links were taken away, with the tags that are among them. */
  async removed(repository: Repository, tags: readonly Tag[]): Promise<void> {
    if (isMirrored(repository)) return
    const left = (this.#counts.get(repository) ?? 0) - tags.length
    // Whether it is still there depends on its manifests then.
    if (left <= 0) return this.recount(repository)
    if (tags.length === 0) return
    this.#reading.delete(repository)
    const known = this.#tags.get(repository)
    for (const tag of known ? tags : []) remove(known!, tag, tagOrder)
    // Set anew, so that its size is taken again.
    if (known) this.#tags.set(repository, known)
    this.#count(repository, left)
  }

  /** To be called after anything else has changed a repository's manifests or tags. */
  async recount(repository: Repository): Promise<void> {
    if (isMirrored(repository)) return
    this.#tags.delete(repository)
    this.#reading.delete(repository)
    const folders = await this.#deps.driver.list(repositoryPrefix(repository))
    const tags = folders.includes('_tags/') ? (await this.#deps.driver.list(tagLinksPrefix(repository))).length : 0
    this.#count(repository, tags > 0 || folders.includes('_manifests/') ? tags : undefined)
  }

  #inOrder(): readonly Repository[] {
    this.#names ??= [...this.#counts.keys()].sort()
    return this.#names
  }

  async #read(repository: Repository): Promise<Tag[]> {
    const reading = this.#deps.links(repository).tags()
    this.#reading.set(repository, reading)
    try {
      const tags = (await reading).sort(tagOrder)
      // Not when it was changed meanwhile.
      if (this.#reading.get(repository) === reading) this.#tags.set(repository, tags)
      return tags
    } finally {
      if (this.#reading.get(repository) === reading) this.#reading.delete(repository)
    }
  }

  #count(repository: Repository, tags: number | undefined): void {
    const before = this.#counts.get(repository)
    this.#sum += (tags ?? 0) - (before ?? 0)
    if (tags === undefined) this.#counts.delete(repository)
    else this.#counts.set(repository, tags)
    if ((tags === undefined) !== (before === undefined)) this.#names = undefined
  }
}
