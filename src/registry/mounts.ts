import type { EventBus } from '../events.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import type { BlobPlaces } from './blob-places.js'
import type { DiskGuard } from './disk-guard.js'
import type { RepositoryLinks } from './repository-links.js'

export interface MountsDeps {
  store: BlobStore
  events: EventBus
  links: (repository: Repository) => RepositoryLinks
  /** The name of the repository here that `from` means; undefined where nothing can be mounted from it. */
  locate: (from: Repository) => Repository | undefined
  places: BlobPlaces
  guard: DiskGuard
}

/** Whether the client may have what a repository holds. */
type MayTake = (origin: Repository) => boolean
const anywhere: MayTake = () => true

/** Blobs that belong to several repositories: made part of one without being sent again. */
export class Mounts {
  readonly #deps: MountsDeps

  constructor(deps: MountsDeps) {
    this.#deps = deps
  }

  /**
   * Makes a blob that is here part of a repository, from which it can be mounted then.
   *
   * @throws {OciError} UNAVAILABLE (507) when the disk is full
   */
  async link(repository: Repository, digest: Digest): Promise<void> {
    const { links, places, guard } = this.#deps
    await guard.writing(() => links(repository).addBlob(digest))
    places.add(repository, digest)
  }

  /**
   * end-11.
   *
   * @param mayTake whether the client may have what is there, by its whole name
   * @returns false when `from` is no repository here, does not hold the blob, or does not show it: to be uploaded, then
   */
  async mount(repository: Repository, digest: Digest, from: Repository, mayTake: MayTake = anywhere): Promise<boolean> {
    const { locate, links, store, events } = this.#deps
    const origin = locate(from)
    if (!origin || !mayTake(origin)) return false
    const size = await links(origin).blobSize(digest)
    if (size === undefined || !(await store.keep(digest))) return false
    await this.link(repository, digest)
    events.emit('blob.pushed', { repository, digest, bytes: size, mounted: true })
    return true
  }

  /**
   * end-11 without `from`: content discovery, where it is likely to be. How long it takes says nothing of repositories that
   * the client may not have. @returns false when none of those looked at holds it
   */
  async mountFromAny(repository: Repository, digest: Digest, mayTake: MayTake): Promise<boolean> {
    for (const from of this.#deps.places.likely(digest, repository))
      if (await this.mount(repository, digest, from, mayTake)) return true
    return false
  }
}
