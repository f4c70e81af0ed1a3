import { type Digest, matches } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, type Manifest, readManifest } from '../oci/manifest.js'
import { isKnownManifestType } from '../oci/media-types.js'
import { isTag, type Tag } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { blobKey, manifestLinksPrefix, tagLinkKey, tagLinksPrefix } from '../storage/layout.js'
import { type ManifestLink, parseManifestLink, parseTagLink, type TagLink } from '../storage/links.js'
import { linksIn } from '../storage/walk.js'
import type { Collection } from './collection.js'
import { printOf } from './digest-set.js'

/** One manifest of a repository, and what it needs. */
export interface MarkedManifest {
  digest: Digest
  /** bytes; 0 where it cannot be read */
  size: number
  /** What an index names; other content may be among it. */
  manifests: readonly Digest[]
  /** Of everything that it names, as `DigestSet` takes it. */
  needs: readonly number[]
  subject: Digest | undefined
  /** From its link: when what held it was deleted, in ms since the epoch. */
  orphanedAt: number | undefined
  /** From its link: it was put here as what its tag names, and for nothing else. */
  fallback: boolean
  /** False when its bytes are gone or damaged, or it is of an unknown type: what it names is not known then. */
  readable: boolean
}

export interface RepositoryMarks {
  manifests: ReadonlyMap<Digest, MarkedManifest>
  tags: readonly { tag: Tag; digest: Digest; taggedAt: number }[]
  /** Tags of which nobody knows what they name. */
  damagedTags: readonly Tag[]
}

/** Reads a repository from its link files and the manifests themselves. */
export async function markRepository(
  repository: string,
  run: Pick<Collection, 'driver' | 'pace' | 'changes'>,
): Promise<RepositoryMarks> {
  const { driver, pace } = run
  const listed = await listLinks(repository, run)
  const linked = await pace.each(listed.manifests, async ({ digest, key }) => {
    // A link that cannot be read holds what it stands for all the same.
    const bytes = await driver.get(key)
    return markManifest(driver, digest, bytes && parseManifestLink(bytes))
  })
  const manifests = new Map(linked.map((manifest) => [manifest.digest, manifest]))
  const tags: { tag: Tag; digest: Digest; taggedAt: number }[] = []
  const damagedTags: Tag[] = []
  const read = await pace.each(listed.tags.filter(isTag), (tag) => readTag(driver, tag, tagLinkKey(repository, tag)))
  for (const [tag, link] of read.flatMap((each) => (each ? [each] : []))) {
    if (!link) {
      damagedTags.push(tag)
      continue
    }
    const { digest, mediaType, taggedAt } = link
    tags.push({ tag, digest, taggedAt })
    // What a tag names is needed, whether its own link is there or not.
    if (!manifests.has(digest)) manifests.set(digest, await markManifest(driver, digest, { mediaType }))
  }
  return { manifests, tags, damagedTags }
}

/** @returns without a link where that cannot be read; `undefined` where the tag has just gone */
async function readTag(
  driver: StorageDriver,
  tag: Tag,
  key: string,
): Promise<[Tag, Required<TagLink> | undefined] | undefined> {
  const bytes = await driver.get(key)
  if (!bytes) return undefined
  const link = parseTagLink(bytes)
  return [tag, link && { ...link, taggedAt: link.taggedAt ?? (await driver.stat(key))?.modifiedAt ?? 0 }]
}

/**
 * A link that is replaced while its folder is listed may be missing from the list though it was there all the time, and
 * what it needs would be taken for garbage: so the names alone are read while nothing is replaced.
 */
function listLinks(repository: string, { driver, changes }: Pick<Collection, 'driver' | 'changes'>) {
  return changes.still(repository, async () => {
    const manifests: { digest: Digest; key: string }[] = []
    for await (const link of linksIn(driver, manifestLinksPrefix(repository))) manifests.push(link)
    const tags: string[] = []
    for await (const tag of driver.names(tagLinksPrefix(repository))) tags.push(tag)
    return { manifests, tags }
  })
}

async function markManifest(
  driver: StorageDriver,
  digest: Digest,
  link: ManifestLink | undefined,
): Promise<MarkedManifest> {
  const bytes = await manifestBytes(driver, digest)
  const parsed: Manifest | undefined = bytes && readManifest(bytes, link?.mediaType ?? '')
  const manifest = parsed && isKnownManifestType(parsed.mediaType) ? parsed : undefined
  return {
    digest,
    size: bytes?.length ?? 0,
    manifests: manifest?.manifests.map((each) => each.digest) ?? [],
    needs: manifest ? childrenOf(manifest).map(printOf) : [],
    subject: manifest?.subject?.digest ?? link?.subject,
    orphanedAt: link?.orphanedAt,
    fallback: link?.fallback ?? false,
    readable: manifest !== undefined,
  }
}

async function manifestBytes(driver: StorageDriver, digest: Digest): Promise<Buffer | undefined> {
  const facts = await driver.stat(blobKey(digest))
  if (!facts || facts.size > MANIFEST_LIMIT) return undefined
  const bytes = await driver.get(blobKey(digest))
  return bytes && matches(digest, bytes) ? bytes : undefined
}
