import { groupsOf } from '../lib/groups.js'
import { type Digest, matches } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, readManifest } from '../oci/manifest.js'
import { isTag } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { blobKey, blobLinksPrefix, manifestLinksPrefix, tagLinkKey, tagLinksPrefix } from '../storage/layout.js'
import { parseManifestLink, parseTagLink, type TagLink } from '../storage/links.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import { linksIn, storedDigests } from '../storage/walk.js'
import type { BlobRow, FoundBlob, MetadataIndex } from './metadata-index.js'

/** Files looked at together, and rows written together: a few milliseconds, since requests may be answered beside it. */
const TOGETHER = 256

export interface RebuildReport {
  blobs: number
  manifests: number
  /** Blobs that were on disk and not in the index. */
  added: number
}

/**
 * Brings the index in line with the storage: every blob that is on disk gets a row, pushed where a local repository
 * links to it or has a tag that names it, cached otherwise. Rows that are there stay as they are.
 *
 * @param isLocal whether a repository, by its name on disk, is one that is pushed to
 */
export async function rebuild(deps: {
  driver: StorageDriver
  index: MetadataIndex
  isLocal: (repository: string) => boolean
}): Promise<RebuildReport> {
  const { driver, index } = deps
  const linked = await linkedDigests(deps)
  const report: RebuildReport = { blobs: 0, manifests: 0, added: 0 }
  // Of an empty one nothing need be asked.
  const isEmpty = index.rowsAfter(undefined, 1).length === 0
  for await (const group of groupsOf(storedDigests(driver), TOGETHER)) {
    const manifests = group.filter((digest) => linked.manifests.has(digest)).length
    report.manifests += manifests
    report.blobs += group.length - manifests
    const news: Known[] = group
      .map((digest) => ({ digest, row: isEmpty ? undefined : index.find(digest) }))
      .filter(({ digest, row }) => row?.pushed !== linked.pushed.has(digest))
    report.added += index.addFound(await look(news, linked, driver))
  }
  return report
}

interface Known {
  digest: Digest
  row: BlobRow | undefined
}

/** @returns without those whose files have just gone */
async function look(blobs: readonly Known[], linked: LinkedDigests, driver: StorageDriver): Promise<FoundBlob[]> {
  const facts = await driver.statAll(blobs.map(({ digest }) => blobKey(digest)))
  const found = await Promise.all(
    blobs.map(async ({ digest, row }, at): Promise<FoundBlob | undefined> => {
      const size = facts[at]?.size
      if (size === undefined) return undefined
      const mediaType = linked.manifests.get(digest)
      const blob = { digest, size, manifest: mediaType !== undefined, pushed: linked.pushed.has(digest) }
      // Of what it knows the index knows that as well.
      if (mediaType === undefined || row) return blob
      return { ...blob, children: await readChildren(digest, mediaType, size, driver) }
    }),
  )
  return found.filter((each) => each !== undefined)
}

async function readChildren(
  digest: Digest,
  mediaType: string,
  size: number,
  driver: StorageDriver,
): Promise<Digest[] | undefined> {
  const bytes = size <= MANIFEST_LIMIT ? await driver.get(blobKey(digest)) : undefined
  const manifest = bytes && matches(digest, bytes) ? readManifest(bytes, mediaType) : undefined
  return manifest && childrenOf(manifest)
}

interface LinkedDigests {
  /** With their media types. */
  manifests: Map<Digest, string>
  pushed: Set<Digest>
}

/** What the link files say: which digests are manifests, and which are kept because they were pushed. */
async function linkedDigests({
  driver,
  isLocal,
}: {
  driver: StorageDriver
  isLocal: (repository: string) => boolean
}): Promise<LinkedDigests> {
  const manifests = new Map<Digest, string>()
  const pushed = new Set<Digest>()
  for await (const repository of repositoriesOnDisk(driver)) {
    const local = isLocal(repository)
    for await (const group of groupsOf(linksIn(driver, manifestLinksPrefix(repository)), TOGETHER)) {
      const types = await Promise.all(group.map(({ key }) => mediaTypeIn(driver, key)))
      for (const [at, { digest }] of group.entries()) {
        manifests.set(digest, types[at]!)
        if (local) pushed.add(digest)
      }
    }
    if (!local) continue
    for await (const { digest } of linksIn(driver, blobLinksPrefix(repository))) pushed.add(digest)
    // What a tag names is needed, whether its own link is there or not.
    for await (const { digest, mediaType } of tagLinks(driver, repository)) {
      pushed.add(digest)
      if (!manifests.get(digest)) manifests.set(digest, mediaType)
    }
  }
  return { manifests, pushed }
}

async function* tagLinks(driver: StorageDriver, repository: string): AsyncGenerator<TagLink> {
  for await (const group of groupsOf(driver.names(tagLinksPrefix(repository)), TOGETHER)) {
    const keys = group.filter(isTag).map((tag) => tagLinkKey(repository, tag))
    const links = await Promise.all(keys.map((key) => driver.get(key)))
    yield* links.map((bytes) => bytes && parseTagLink(bytes)).filter((link) => link !== undefined)
  }
}

async function mediaTypeIn(driver: StorageDriver, key: string): Promise<string> {
  const bytes = await driver.get(key)
  return (bytes && parseManifestLink(bytes)?.mediaType) ?? ''
}
