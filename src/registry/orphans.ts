import type { Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { readManifest } from '../oci/manifest.js'
import type { Tag } from '../oci/reference.js'
import { attachedManifests, fallbackTag } from '../oci/referrers.js'
import type { LocalContent } from './local-content.js'
import type { RepositoryLinks } from './repository-links.js'

export interface OrphanDeps {
  links: RepositoryLinks
  content: LocalContent
  /** Of the manifest that is about to be deleted. */
  mediaType: string
  /** What has a tag stays whatever happens to those around it, unless that is one of a signature or the like. */
  tags: ReadonlyMap<Tag, Digest>
  /** ms since the epoch */
  at: number
}

/**
 * Writes on the links of what was here for `digest`'s sake that it is about to go: the manifests that it lists as an
 * index, those that refer to it, and those that are attached to it by their tags. The garbage collection takes them when nothing else needs them; they are not deleted
 * at once, since many clients delete them one by one.
 */
export async function orphan(digest: Digest, deps: OrphanDeps): Promise<void> {
  const { links, tags, at } = deps
  const attached = attachedManifests(tags).get(fallbackTag(digest)) ?? []
  const tagged = new Set(tags.values())
  const dependents = [...(await listedIn(digest, deps)), ...(await links.referrers(digest)).map((each) => each.digest)]
  for (const dependent of new Set(dependents)) {
    const link = tagged.has(dependent) ? undefined : await links.manifest(dependent)
    // An index of referrers lists what is here for the sake of another manifest.
    if (link?.subject !== undefined && link.subject !== digest) continue
    if (link) await links.addManifest(dependent, { ...link, orphanedAt: at })
  }
  for (const each of attached) {
    const link = await links.manifest(each)
    if (link) await links.addManifest(each, { ...link, orphanedAt: at })
  }
}

async function listedIn(digest: Digest, { content, mediaType }: OrphanDeps): Promise<Digest[]> {
  try {
    const bytes = await content.manifestBytes(digest)
    return (bytes && readManifest(bytes, mediaType)?.manifests.map((each) => each.digest)) ?? []
  } catch (error) {
    // Of a damaged one nobody knows what it listed; it must be possible to delete it all the same.
    if (error instanceof OciError) return []
    throw error
  }
}
