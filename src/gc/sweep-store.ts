import { groupsOf } from '../lib/groups.js'
import type { Digest } from '../oci/digest.js'
import { blobKey, blobLinksPrefix, manifestLinksPrefix, tagLinkKey, tagLinksPrefix } from '../storage/layout.js'
import { parseTagLink } from '../storage/links.js'
import { linksIn, storedDigests } from '../storage/walk.js'
import type { Collection } from './collection.js'
import { DigestSet } from './digest-set.js'

/** Rows read from the index in one go: about a millisecond. */
const PAGE = 200
/** Names of files and tags gone through in one go. */
const TOGETHER = 64

/**
 * Counts as live all that a repository links to or has tagged: it is neither collected nor read through, since its namespace was taken
 * away, or something in it cannot be read.
 */
export async function keepAll(repository: string, { driver, live, pace }: Collection): Promise<void> {
  for (const prefix of [manifestLinksPrefix(repository), blobLinksPrefix(repository)]) {
    for await (const { digest } of linksIn(driver, prefix)) {
      await pace.step()
      live.add(digest)
    }
  }
  for await (const tags of groupsOf(driver.names(tagLinksPrefix(repository)), TOGETHER)) {
    await pace.each(tags, async (tag) => {
      const bytes = await driver.get(tagLinkKey(repository, tag))
      const link = bytes && parseTagLink(bytes)
      if (link) live.add(link.digest)
    })
  }
}

/** Takes away a mirrored repository's links to manifests that were evicted. What its tags were is kept: it is no garbage. */
export async function sweepMirrored(repository: string, run: Collection): Promise<void> {
  const { driver, store, isLost, pace, cutoff, dryRun } = run
  const stale: { digest: Digest; key: string }[] = []
  for await (const link of linksIn(driver, manifestLinksPrefix(repository))) {
    await pace.step()
    if (isLost(link.digest)) stale.push(link)
  }
  for (const { digest, key } of stale) {
    await pace.step()
    const removed = await store.unlessUsed(digest, cutoff, async () => {
      const link = await driver.stat(key)
      if (!link || link.modifiedAt > cutoff || (await driver.stat(blobKey(digest)))) return undefined
      if (!dryRun) await driver.delete(key)
      return true
    })
    if (removed) await run.found({ kind: 'manifest', repository, digest, bytes: 0, why: 'it was evicted' })
  }
}

/** Goes through all that the index knows: drops rows without a file, gives up what is no longer linked, keeps what is. */
export async function sweepRows(run: Collection): Promise<DigestSet> {
  const { index, live, isLost, pace } = run
  const rows = new DigestSet()
  let last: Digest | undefined
  for (let page = index.rowsAfter(last, PAGE); page.length > 0; page = index.rowsAfter(last, PAGE)) {
    await pace.each(page, async ({ digest, pushed }) => {
      rows.add(digest)
      if (isLost(digest)) await dropLost(digest, run)
      else if (pushed && !live.has(digest)) await collect(digest, 'no repository links to it', run)
      else if (!pushed && live.has(digest) && !run.dryRun) await run.store.keep(digest)
    })
    last = page.at(-1)!.digest
  }
  return rows
}

/** Takes away files that neither the index nor a repository knows; what a repository alone knows the index learns. */
export async function sweepFiles(rows: DigestSet, run: Collection): Promise<void> {
  for await (const digests of groupsOf(storedDigests(run.driver), TOGETHER)) {
    await run.pace.each(digests, async (digest) => {
      if (rows.has(digest)) return
      if (!run.live.has(digest)) await collect(digest, 'nothing knows it', run)
      else if (!run.dryRun) await run.store.keep(digest)
    })
  }
}

async function collect(digest: Digest, why: string, run: Collection): Promise<void> {
  const bytes = await run.store.collect(digest, run.cutoff, run.dryRun)
  if (bytes === undefined) return
  if (!run.dryRun) run.events.emit('blob.collected', { digest, bytes })
  await run.found({ kind: 'content', digest, bytes, why })
}

async function dropLost(digest: Digest, { store, driver, cutoff, dryRun, found }: Collection): Promise<void> {
  const dropped = await store.unlessUsed(digest, cutoff, async () => !(await driver.stat(blobKey(digest))))
  if (!dropped || (!dryRun && !(await store.dropLost(digest)))) return
  await found({ kind: 'row', digest, why: 'its file is gone' })
}
