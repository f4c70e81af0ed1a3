import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { isAbsence, OciError } from '../oci/errors.js'
import { printReference, type Reference } from '../oci/reference.js'
import { fallbackSubject, isAttachedTag, ofType } from '../oci/referrers.js'
import type { ContentSource, PageRequest, ReferrersAnswer, TagPage } from '../routing/content-source.js'
import type { PushedRepository } from './pushed-repository.js'

/** RFC 7234, 5.5.7: something is missing, and not because it is old. */
const INCOMPLETE = `299 entrepot "only what was pushed here: the upstream's referrers could not be had"`

/** A repository that is read through, with the referrers that were pushed to it here before it. */
export class AttachedSource implements ContentSource {
  readonly #pushed: PushedRepository
  readonly #upstream: ContentSource

  constructor({ pushed, upstream }: { pushed: PushedRepository; upstream: ContentSource }) {
    this.#pushed = pushed
    this.#upstream = upstream
  }

  async openBlob(digest: Digest, from?: number): Promise<OpenBlob> {
    return (await this.#pushed.openBlob(digest)) ?? this.#upstream.openBlob(digest, from)
  }

  async statBlob(digest: Digest): Promise<BlobFacts> {
    return (await this.#pushed.statBlob(digest)) ?? this.#upstream.statBlob(digest)
  }

  /** No tag of an image is ever looked for here: those are the upstream's. */
  async getManifest(reference: Reference, refresh?: boolean): Promise<ServedManifest> {
    if (reference.kind === 'tag' && !isAttachedTag(reference.tag)) return this.#upstream.getManifest(reference, refresh)
    const pushed = await this.#pushed.manifest(reference)
    if (pushed) return pushed
    const subject = fallbackSubject(printReference(reference))
    // The upstream's index would lack what was pushed here: neither has one that says it all.
    if (subject && (await this.#pushed.referrers(subject)).length > 0) throw unknownTag(reference)
    return this.#upstream.getManifest(reference, refresh)
  }

  /** What can be pulled by a tag is listed: the tags pushed here among the upstream's, in its order. */
  async listTags(page: PageRequest): Promise<TagPage> {
    const { n, last = '' } = page
    const own = (await this.#pushed.tags()).filter((tag) => tag > last)
    const { tags, more } = await orIfAbsent(this.#upstream.listTags(page), { tags: [], more: false })
    const end = more ? tags.at(-1) : undefined
    const reached = end === undefined ? own : own.filter((tag) => tag <= end)
    const all = [...new Set<string>([...tags, ...reached])].sort()
    const listed = all.slice(0, n ?? all.length)
    return { tags: listed, more: listed.length > 0 && (more || listed.length < all.length) }
  }

  async listReferrers(subject: Digest, artifactType?: string): Promise<ReferrersAnswer> {
    const [own, theirs] = await Promise.all([
      this.#pushed.referrers(subject),
      orRefusal(this.#upstream.listReferrers(subject, artifactType)),
    ])
    const descriptors = ofType(own, artifactType)
    if (!(theirs instanceof OciError)) {
      return { ...theirs, descriptors: [...descriptors, ...theirs.descriptors] }
    }
    if (own.length === 0) throw theirs
    return { descriptors, warning: INCOMPLETE }
  }
}

async function orIfAbsent<Value>(promise: Promise<Value>, otherwise: Value): Promise<Value> {
  try {
    return await promise
  } catch (error) {
    if (isAbsence(error)) return otherwise
    throw error
  }
}

async function orRefusal<Value>(promise: Promise<Value>): Promise<Value | OciError> {
  try {
    return await promise
  } catch (error) {
    if (error instanceof OciError) return error
    throw error
  }
}

function unknownTag(reference: Reference): OciError {
  return new OciError('MANIFEST_UNKNOWN', 'no index was pushed under this tag', {
    detail: { tag: printReference(reference) },
  })
}
