import { algorithmOf, type Digest, hexOf, isDigest } from './digest.js'
import type { Descriptor } from './manifest.js'
import { MEDIA_TYPES } from './media-types.js'
import type { Tag } from './reference.js'

/** What of the referrers' names a repository may be asked for beside the API: the specification's tag, and cosign's three. */
const ATTACHED_TAG = /^(sha(?:256|512)-[0-9a-f]{64})(?:\.(?:sig|att|sbom))?$/
/** Longer lists are answered in pages, so that one answer stays what clients read: most stop at 4 MiB. */
const PAGE = { length: 500, bytes: 3 * 1024 * 1024 }

/** Where clients without the referrers API keep an index of what refers to `subject` (Referrers Tag Schema). */
export function fallbackTag(subject: Digest): Tag {
  return `${algorithmOf(subject).slice(0, 32)}-${hexOf(subject).slice(0, 64)}` as Tag
}

/** The inverse of `fallbackTag`; `undefined` for any other tag, and for sha512, of which such a tag holds half. */
export function fallbackSubject(tag: string): Digest | undefined {
  const digest = tag.replace('-', ':')
  return isDigest(digest) && fallbackTag(digest) === tag ? digest : undefined
}

/** Whether a tag is one that `fallbackTag` makes. */
export function isFallbackTag(tag: string): boolean {
  return attachedTo(tag) === tag
}

/** Whether a tag is one that speaks of another manifest: `sha256-<hex>`, and cosign's `.sig`, `.att` and `.sbom` of it. */
export function isAttachedTag(tag: string): boolean {
  return ATTACHED_TAG.test(tag)
}

/** The fallback tag of the manifest that an attached tag speaks of; `undefined` for any other tag. */
export function attachedTo(tag: string): Tag | undefined {
  return ATTACHED_TAG.exec(tag)?.[1] as Tag | undefined
}

/** Manifests whose every tag is attached to the same one, by the fallback tag of that: they are here for its sake. */
export function attachedManifests(tags: Iterable<readonly [Tag, Digest]>): Map<Tag, Digest[]> {
  const owners = new Map<Digest, Tag | undefined>()
  for (const [tag, digest] of tags) {
    const owner = attachedTo(tag)
    owners.set(digest, owners.has(digest) && owners.get(digest) !== owner ? undefined : owner)
  }
  const attached = new Map<Tag, Digest[]>()
  for (const [digest, owner] of owners) {
    if (owner !== undefined) attached.set(owner, [...(attached.get(owner) ?? []), digest])
  }
  return attached
}

/** The referrers of one type; all of them where none is asked for. */
export function ofType(descriptors: readonly Descriptor[], artifactType: string | undefined): Descriptor[] {
  return descriptors.filter((each) => artifactType === undefined || each.artifactType === artifactType)
}

/** Each digest once, the first that is listed, in the order of the digests: so that pages hold while more are pushed. */
export function inOrder(descriptors: readonly Descriptor[]): Descriptor[] {
  const byDigest = new Map([...descriptors].reverse().map((each) => [each.digest, each]))
  return [...byDigest.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1))
}

/**
 * One answer's worth of referrers: what follows `last`, as far as it fits, one at least.
 *
 * @param sorted by `inOrder`
 * @param n no more than so many
 */
export function pageOfReferrers(
  sorted: readonly Descriptor[],
  { n = PAGE.length, last = '' }: { n?: number | undefined; last?: string | undefined } = {},
): { descriptors: Descriptor[]; more: boolean } {
  const following = sorted.filter(({ digest }) => digest > last)
  const most = Math.min(n || PAGE.length, PAGE.length)
  let count = 0
  for (let bytes = 0; count < Math.min(most, following.length); count++) {
    bytes += Buffer.byteLength(JSON.stringify(following[count]))
    if (bytes > PAGE.bytes && count > 0) break
  }
  return { descriptors: following.slice(0, count), more: count < following.length }
}

/** The index that lists `descriptors`; the same bytes for the same list. */
export function referrersIndex(descriptors: readonly Descriptor[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: descriptors }))
}
