import { groupsOf } from '../lib/groups.js'
import { type Digest, matches } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, readManifest } from '../oci/manifest.js'
import type { StorageDriver } from '../storage/driver.js'
import { blobKey, blobLinksPrefix, manifestLinksPrefix } from '../storage/layout.js'
import { parseManifestLink } from '../storage/links.js'
import { repositoriesOnDisk } from '../storage/repositories.js'
import { linksIn, storedDigests } from '../storage/walk.js'
import type { MetadataIndex } from './metadata-index.js'

/** Files looked at together, and rows written together. */
const TOGETHER = 64

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
  const linked = await linkedDigests(deps)
  const report: RebuildReport = { blobs: 0, manifests: 0, added: 0 }
  for await (const group of groupsOf(storedDigests(driver), TOGETHER)) {
    const found = await Promise.all(group.map((digest) => look(digest, linked, deps)))
    // One transaction for all of them: each costs as much as its rows.
    index.together(() => {
      for (const each of found) note(each, index, report)
    })
  }
  return report
}

interface Found {
  digest: Digest
  manifest: boolean
  pushed: boolean
  /** What it needs, where that is to be learnt. */
  children?: Digest[] | undefined
  /** Undefined when the index knows it already, or the file has just gone. */
  size?: number
}

async function look(
  digest: Digest,
  linked: LinkedDigests,
  { driver, index }: { driver: StorageDriver; index: MetadataIndex },
): Promise<Found> {
  const mediaType = linked.manifests.get(digest)
  const known = { digest, manifest: mediaType !== undefined, pushed: linked.pushed.has(digest) }
  const row = index.find(digest)
  if (row && row.pushed === known.pushed) return known
  const facts = await driver.stat(blobKey(digest))
  if (!facts) return known
  const children =
    mediaType === undefined || row ? undefined : await readChildren(digest, mediaType, facts.size, driver)
  return { ...known, size: facts.size, children }
}

function note({ digest, manifest, pushed, size, children }: Found, index: MetadataIndex, report: RebuildReport): void {
  report[manifest ? 'manifests' : 'blobs']++
  if (size === undefined) return
  const row = index.find(digest)
  if (pushed) index.addPushed({ digest, size, manifest })
  else if (!row) index.addCached({ digest, size, manifest })
  if (!row) report.added++
  if (children) index.setChildren(digest, children)
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
  }
  return { manifests, pushed }
}

async function mediaTypeIn(driver: StorageDriver, key: string): Promise<string> {
  const bytes = await driver.get(key)
  return (bytes && parseManifestLink(bytes)?.mediaType) ?? ''
}
