import type { Repository } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { isMirrored, repositoryPrefix, tagLinksPrefix } from '../storage/layout.js'
import { repositoriesIn } from './catalog.js'

/** How many local repositories and tags there are, counted once and then with each change. */
export class Totals {
  readonly #driver: StorageDriver
  readonly #tags = new Map<Repository, number>()
  #sum = 0

  constructor({ driver }: { driver: StorageDriver }) {
    this.#driver = driver
  }

  async start(namespaces: readonly string[]): Promise<void> {
    for await (const repository of repositoriesIn(this.#driver, namespaces)) await this.recount(repository)
  }

  get value(): { repositories: number; tags: number } {
    return { repositories: this.#tags.size, tags: this.#sum }
  }

  /** To be called after each change of a repository's manifests or tags. */
  async recount(repository: Repository): Promise<void> {
    if (isMirrored(repository)) return
    const folders = await this.#driver.list(repositoryPrefix(repository))
    const tags = folders.includes('_tags/') ? (await this.#driver.list(tagLinksPrefix(repository))).length : 0
    this.#sum += tags - (this.#tags.get(repository) ?? 0)
    if (tags > 0 || folders.includes('_manifests/')) this.#tags.set(repository, tags)
    else this.#tags.delete(repository)
  }
}
