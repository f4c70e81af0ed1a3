import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { OciError, type OciErrorCode } from '../oci/errors.js'
import type { Reference } from '../oci/reference.js'
import type { ContentSource, PageRequest, ReferrersAnswer, TagPage } from '../routing/content-source.js'
import type { LocalContent } from './local-content.js'
import type { RepositoryLinks } from './repository-links.js'
import { pageOf } from './tags.js'

/** One repository that is pushed to, read. Only the local storage is ever asked. */
export class LocalSource implements ContentSource {
  readonly #links: RepositoryLinks
  readonly #content: LocalContent

  constructor({ links, content }: { links: RepositoryLinks; content: LocalContent }) {
    this.#links = links
    this.#content = content
  }

  async openBlob(digest: Digest): Promise<OpenBlob> {
    const size = await this.#links.blobSize(digest)
    const blob = size === undefined ? undefined : await this.#content.open(digest)
    if (!blob) throw await this.#absence('BLOB_UNKNOWN', 'blob', { digest })
    return blob
  }

  async statBlob(digest: Digest): Promise<BlobFacts> {
    const size = await this.#links.blobSize(digest)
    if (size === undefined) throw await this.#absence('BLOB_UNKNOWN', 'blob', { digest })
    return { digest, size, outcome: 'local' }
  }

  async getManifest(reference: Reference): Promise<ServedManifest> {
    const link = await this.#find(reference)
    const bytes = link && (await this.#content.manifestBytes(link.digest))
    if (!bytes) throw await this.#absence('MANIFEST_UNKNOWN', 'manifest', printable(reference))
    return { ...link, bytes, outcome: 'local' }
  }

  async listTags(page: PageRequest): Promise<TagPage> {
    const tags = await this.#links.tags()
    if (tags.length === 0 && !(await this.#links.exists())) throw this.#unknownRepository()
    return pageOf(tags, page)
  }

  /** Empty, not an error, where nothing refers to `subject` (end-12). */
  async listReferrers(subject: Digest, artifactType: string | undefined): Promise<ReferrersAnswer> {
    const referrers = await this.#links.referrers(subject)
    if (artifactType === undefined) return { descriptors: referrers, filtered: false }
    return { descriptors: referrers.filter((referrer) => referrer.artifactType === artifactType), filtered: true }
  }

  async #find(reference: Reference): Promise<{ digest: Digest; mediaType: string } | undefined> {
    if (reference.kind === 'tag') return this.#links.tag(reference.tag)
    const link = await this.#links.manifest(reference.digest)
    return link && { digest: reference.digest, mediaType: link.mediaType }
  }

  async #absence(code: OciErrorCode, what: string, detail: Record<string, string>): Promise<OciError> {
    if (!(await this.#links.exists())) return this.#unknownRepository()
    return new OciError(code, `no such ${what} in ${this.#links.repository}`, { detail })
  }

  #unknownRepository(): OciError {
    const { repository } = this.#links
    return new OciError('NAME_UNKNOWN', 'nothing was pushed to this repository', { detail: { name: repository } })
  }
}

function printable(reference: Reference): Record<string, string> {
  return reference.kind === 'tag' ? { tag: reference.tag } : { digest: reference.digest }
}
