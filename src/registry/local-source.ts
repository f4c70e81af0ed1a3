import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { OciError, type OciErrorCode } from '../oci/errors.js'
import type { Reference } from '../oci/reference.js'
import { ofType } from '../oci/referrers.js'
import type { ContentSource, PageRequest, ReferrersAnswer, TagPage } from '../routing/content-source.js'
import type { Directory } from './directory.js'
import type { PushedRepository } from './pushed-repository.js'
import { pageOf } from './tags.js'

/** One repository that is pushed to, read. Only the local storage is ever asked. */
export class LocalSource implements ContentSource {
  readonly #pushed: PushedRepository
  readonly #directory: Directory

  constructor({ pushed, directory }: { pushed: PushedRepository; directory: Directory }) {
    this.#pushed = pushed
    this.#directory = directory
  }

  async openBlob(digest: Digest): Promise<OpenBlob> {
    const blob = await this.#pushed.openBlob(digest)
    if (!blob) throw await this.#absence('BLOB_UNKNOWN', 'blob', { digest })
    return blob
  }

  async statBlob(digest: Digest): Promise<BlobFacts> {
    const facts = await this.#pushed.statBlob(digest)
    if (!facts) throw await this.#absence('BLOB_UNKNOWN', 'blob', { digest })
    return facts
  }

  async getManifest(reference: Reference): Promise<ServedManifest> {
    const manifest = await this.#pushed.manifest(reference)
    if (!manifest) throw await this.#absence('MANIFEST_UNKNOWN', 'manifest', printable(reference))
    return manifest
  }

  async listTags(page: PageRequest): Promise<TagPage> {
    const tags = await this.#directory.tags(this.#pushed.links.repository)
    if (tags.length === 0 && !(await this.#pushed.links.exists())) throw this.#unknownRepository()
    return pageOf(tags, page)
  }

  /** Empty, not an error, where nothing refers to `subject` (end-12). */
  async listReferrers(subject: Digest, artifactType?: string): Promise<ReferrersAnswer> {
    return { descriptors: ofType(await this.#pushed.referrers(subject), artifactType) }
  }

  async #absence(code: OciErrorCode, what: string, detail: Record<string, string>): Promise<OciError> {
    if (!(await this.#pushed.links.exists())) return this.#unknownRepository()
    return new OciError(code, `no such ${what} in ${this.#pushed.links.repository}`, { detail })
  }

  #unknownRepository(): OciError {
    const { repository } = this.#pushed.links
    return new OciError('NAME_UNKNOWN', 'nothing was pushed to this repository', { detail: { name: repository } })
  }
}

function printable(reference: Reference): Record<string, string> {
  return reference.kind === 'tag' ? { tag: reference.tag } : { digest: reference.digest }
}
