import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { Descriptor } from '../oci/manifest.js'
import type { Reference, Tag } from '../oci/reference.js'
import { fallbackTag } from '../oci/referrers.js'
import { readReferrers } from './fallback-index.js'
import type { LocalContent } from './local-content.js'
import type { RepositoryLinks } from './repository-links.js'

/** What was pushed to one repository, read. `undefined` where it is not here; nobody else is asked. */
export class PushedRepository {
  readonly links: RepositoryLinks
  readonly #content: LocalContent

  constructor({ links, content }: { links: RepositoryLinks; content: LocalContent }) {
    this.links = links
    this.#content = content
  }

  /** The caller closes what it gets. */
  async openBlob(digest: Digest): Promise<OpenBlob | undefined> {
    const size = await this.#blobSize(digest)
    return size === undefined ? undefined : this.#content.open(digest)
  }

  async statBlob(digest: Digest): Promise<BlobFacts | undefined> {
    const size = await this.#blobSize(digest)
    return size === undefined ? undefined : { digest, size, outcome: 'local' }
  }

  async manifest(reference: Reference): Promise<ServedManifest | undefined> {
    const link = await this.#find(reference)
    const bytes = link && (await this.#content.manifestBytes(link.digest))
    return bytes && { ...link, bytes, outcome: 'local' }
  }

  /** In no particular order. */
  tags(): Promise<Tag[]> {
    return this.links.tags()
  }

  /** What has `subject`, and what the index under its fallback tag lists (Enabling the Referrers API); some perhaps twice. */
  async referrers(subject: Digest): Promise<Descriptor[]> {
    const known = await this.links.referrers(subject)
    const tagged = await this.links.tag(fallbackTag(subject))
    const bytes = tagged && (await this.#content.manifestBytes(tagged.digest))
    return bytes ? [...known, ...readReferrers(bytes)] : known
  }

  #blobSize(digest: Digest): Promise<number | undefined> {
    return this.#content.sizeOf(digest, () => this.links.blobSize(digest))
  }

  async #find(reference: Reference): Promise<{ digest: Digest; mediaType: string } | undefined> {
    if (reference.kind === 'tag') {
      const tag = await this.links.tag(reference.tag)
      return tag && this.#content.using(tag.digest, async () => tag)
    }
    const { digest } = reference
    const link = await this.#content.using(digest, () => this.links.manifest(digest))
    return link && { digest, mediaType: link.mediaType }
  }
}
