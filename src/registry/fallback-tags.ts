import { LRUCache } from 'lru-cache'
import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import { type Digest, digestOf } from '../oci/digest.js'
import { isAbsence } from '../oci/errors.js'
import { MEDIA_TYPES } from '../oci/media-types.js'
import type { Reference, Repository } from '../oci/reference.js'
import { fallbackSubject, inOrder, pageOfReferrers, referrersIndex } from '../oci/referrers.js'
import type { ContentSource, PageRequest, ReferrersAnswer, TagPage } from '../routing/content-source.js'

const KEPT_BYTES = 16 * 1024 * 1024

/**
 * Indexes that were made of referrers for clients that know only the fallback tag, by repository and digest: whoever has
 * seen the tag's digest asks by it next. Kept in memory alone, since the tag makes the same bytes again.
 */
export class MadeIndexes {
  readonly #kept = new LRUCache<string, ServedManifest>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ bytes }) => bytes.length,
  })

  get(repository: Repository, digest: Digest): ServedManifest | undefined {
    return this.#kept.size === 0 ? undefined : this.#kept.get(`${repository}@${digest}`)
  }

  /** Of as many as one answer of the referrers API has; the same bytes for the same referrers. */
  make(repository: Repository, { descriptors }: ReferrersAnswer): ServedManifest {
    const bytes = referrersIndex(pageOfReferrers(inOrder(descriptors)).descriptors)
    const index: ServedManifest = { digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociIndex, bytes, outcome: 'local' }
    this.#kept.set(`${repository}@${index.digest}`, index)
    return index
  }
}

export interface FallbackTagsDeps {
  repository: Repository
  source: ContentSource
  made: MadeIndexes
}

/** A repository whose tag `sha256-<hex>` is there as soon as referrers are, also where nobody has pushed one. */
export class FallbackTags implements ContentSource {
  readonly #deps: FallbackTagsDeps

  constructor(deps: FallbackTagsDeps) {
    this.#deps = deps
  }

  async getManifest(reference: Reference, refresh?: boolean): Promise<ServedManifest> {
    const { source, repository, made } = this.#deps
    if (reference.kind === 'digest') {
      return made.get(repository, reference.digest) ?? source.getManifest(reference, refresh)
    }
    const subject = fallbackSubject(reference.tag)
    if (!subject) return source.getManifest(reference, refresh)
    try {
      return await source.getManifest(reference, refresh)
    } catch (error) {
      if (!isAbsence(error)) throw error
      const referrers = await source.listReferrers(subject)
      if (referrers.descriptors.length === 0) throw error
      return { ...made.make(repository, referrers), warning: referrers.warning }
    }
  }

  openBlob(digest: Digest, from?: number): Promise<OpenBlob> {
    return this.#deps.source.openBlob(digest, from)
  }

  statBlob(digest: Digest): Promise<BlobFacts> {
    return this.#deps.source.statBlob(digest)
  }

  listTags(page: PageRequest): Promise<TagPage> {
    return this.#deps.source.listTags(page)
  }

  listReferrers(subject: Digest, artifactType?: string): Promise<ReferrersAnswer> {
    return this.#deps.source.listReferrers(subject, artifactType)
  }
}
