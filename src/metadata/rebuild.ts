import { type Digest, matches } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, readManifest } from '../oci/manifest.js'
import type { StorageDriver } from '../storage/driver.js'
import { blobKey, repositoryPrefix } from '../storage/layout.js'
import { parseManifestLink } from '../storage/links.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import { linksIn, storedDigests } from '../storage/walk.js'
import type { MetadataIndex } from './metadata-index.js'

export interface RebuildReport {
  blobs: number
  manifests: number
  /** Blobs that were on disk and not in the index. */
  added: number
}

/**
 * Brings the index in line with the storage: every blob that is on disk gets a row, pushed where a local repository
 * links to it, cached otherwise. Rows that are there stay as they are.
 *
 * @param isLocal whether a repository, by its name on disk, is one that is pushed to
 */
export async function rebuild(deps: {
  driver: StorageDriver
  index: MetadataIndex
  isLocal: (repository: string) => boolean
}): Promise<RebuildReport> {
  const { driver, index } = deps
  const { manifests, pushed } = await linkedDigests(deps)
  const report: RebuildReport = { blobs: 0, manifests: 0, added: 0 }
  for await (const digest of storedDigests(driver)) {
    const manifest = manifests.has(digest)
    report[manifest ? 'manifests' : 'blobs']++
    const row = index.find(digest)
    if (row && row.pushed === pushed.has(digest)) continue
    const facts = await driver.stat(blobKey(digest))
    if (!facts) continue
    const blob = { digest, size: facts.size, manifest }
    if (pushed.has(digest)) index.addPushed(blob)
    else if (!row) index.addCached(blob)
    if (!row) report.added++
    if (manifest && !row) await learnChildren(digest, manifests.get(digest) ?? '', deps)
  }
  return report
}

async function learnChildren(
  digest: Digest,
  mediaType: string,
  { driver, index }: { driver: StorageDriver; index: MetadataIndex },
) {
  const facts = await driver.stat(blobKey(digest))
  const bytes = facts && facts.size <= MANIFEST_LIMIT ? await driver.get(blobKey(digest)) : undefined
  if (!bytes || !matches(digest, bytes)) return
  const manifest = readManifest(bytes, mediaType)
  if (manifest) index.setChildren(digest, childrenOf(manifest))
}

/** What the link files say: which digests are manifests, and which are kept because they were pushed. */
async function linkedDigests({ driver, isLocal }: { driver: StorageDriver; isLocal: (repository: string) => boolean }) {
  const manifests = new Map<Digest, string>()
  const pushed = new Set<Digest>()
  for await (const repository of repositoriesOnDisk(driver)) {
    const local = isLocal(repository)
    for (const kind of ['_manifests', '_blobs'] as const) {
      for await (const { digest, key } of linksIn(driver, `${repositoryPrefix(repository)}/${kind}`)) {
        if (local) pushed.add(digest)
        if (kind === '_manifests') manifests.set(digest, await mediaTypeIn(driver, key))
      }
    }
  }
  return { manifests, pushed }
}

async function mediaTypeIn(driver: StorageDriver, key: string): Promise<string> {
  const bytes = await driver.get(key)
  return (bytes && parseManifestLink(bytes)?.mediaType) ?? ''
}
