import type { Digest } from '../oci/digest.js'
import type { Descriptor } from '../oci/manifest.js'
import { isTag, type Repository, type Tag } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import {
  blobKey,
  blobLinkKey,
  digestFromParts,
  manifestLinkKey,
  manifestLinksPrefix,
  pushedName,
  referrerKey,
  referrersPrefix,
  repositoryPrefix,
  tagLinkKey,
  tagLinksPrefix,
} from '../storage/layout.js'
import {
  type ManifestLink,
  parseManifestLink,
  parseReferrerLink,
  parseTagLink,
  type TagLink,
} from '../storage/links.js'

/**
 * The link files of one repository: what belongs to it by a push. They are the truth; the index only speeds things up.
 * Those of a repository that is read through are kept apart from what was fetched of it.
 */
export class RepositoryLinks {
  readonly repository: Repository
  readonly #name: string
  readonly #driver: StorageDriver

  constructor({ repository, driver }: { repository: Repository; driver: StorageDriver }) {
    this.repository = repository
    this.#name = pushedName(repository)
    this.#driver = driver
  }

  /** Whether anything was ever pushed here and is not deleted. */
  async exists(): Promise<boolean> {
    const folders = await this.#driver.list(repositoryPrefix(this.#name))
    return folders.some((folder) => folder.startsWith('_'))
  }

  /** Size in bytes of a blob that belongs here and whose bytes are there. */
  blobSize(digest: Digest): Promise<number | undefined> {
    return this.#sizeBy(blobLinkKey(this.#name, digest), digest)
  }

  /** Size in bytes of a manifest that belongs here and whose bytes are there. */
  manifestSize(digest: Digest): Promise<number | undefined> {
    return this.#sizeBy(manifestLinkKey(this.#name, digest), digest)
  }

  addBlob(digest: Digest): Promise<void> {
    return this.#driver.put(blobLinkKey(this.#name, digest), '')
  }

  removeBlob(digest: Digest): Promise<void> {
    return this.#driver.delete(blobLinkKey(this.#name, digest))
  }

  /** Every manifest that belongs here, with its link where that can be read, in no particular order. */
  async *manifests(): AsyncGenerator<[Digest, ManifestLink | undefined]> {
    const prefix = manifestLinksPrefix(this.#name)
    for (const algorithm of await this.#driver.list(prefix)) {
      for (const hex of await this.#driver.list(`${prefix}/${algorithm.slice(0, -1)}`)) {
        const digest = digestFromParts(algorithm.slice(0, -1), hex)
        if (digest) yield [digest, await this.manifest(digest)]
      }
    }
  }

  async manifest(digest: Digest): Promise<ManifestLink | undefined> {
    const bytes = await this.#driver.get(manifestLinkKey(this.#name, digest))
    return bytes && parseManifestLink(bytes)
  }

  addManifest(digest: Digest, link: ManifestLink): Promise<void> {
    return this.#driver.put(manifestLinkKey(this.#name, digest), JSON.stringify(link))
  }

  removeManifest(digest: Digest): Promise<void> {
    return this.#driver.delete(manifestLinkKey(this.#name, digest))
  }

  async tag(tag: Tag): Promise<TagLink | undefined> {
    const bytes = await this.#driver.get(tagLinkKey(this.#name, tag))
    return bytes && parseTagLink(bytes)
  }

  /** Whether it is there, though it may be damaged and name nothing. */
  async hasTag(tag: Tag): Promise<boolean> {
    return (await this.#driver.stat(tagLinkKey(this.#name, tag))) !== undefined
  }

  setTag(tag: Tag, link: TagLink): Promise<void> {
    return this.#driver.put(tagLinkKey(this.#name, tag), JSON.stringify(link))
  }

  removeTag(tag: Tag): Promise<void> {
    return this.#driver.delete(tagLinkKey(this.#name, tag))
  }

  /** In no particular order. */
  async tags(): Promise<Tag[]> {
    return (await this.#driver.list(tagLinksPrefix(this.#name))).filter(isTag)
  }

  /** Descriptors of the manifests that have `subject`, in the order of their digests. */
  async referrers(subject: Digest): Promise<Descriptor[]> {
    const prefix = referrersPrefix(this.#name, subject)
    const descriptors: Descriptor[] = []
    for (const name of await this.#driver.list(prefix)) {
      const bytes = await this.#driver.get(`${prefix}/${name}`)
      const descriptor = bytes && parseReferrerLink(bytes)
      if (descriptor) descriptors.push(descriptor)
    }
    return descriptors
  }

  addReferrer(subject: Digest, referrer: Descriptor): Promise<void> {
    return this.#driver.put(referrerKey(this.#name, subject, referrer.digest), JSON.stringify(referrer))
  }

  removeReferrer(subject: Digest, referrer: Digest): Promise<void> {
    return this.#driver.delete(referrerKey(this.#name, subject, referrer))
  }

  async #sizeBy(link: string, digest: Digest): Promise<number | undefined> {
    return (await this.#driver.stat(link)) && (await this.#driver.stat(blobKey(digest)))?.size
  }
}
