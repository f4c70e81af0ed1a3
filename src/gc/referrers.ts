import type { Digest } from '../oci/digest.js'
import { digestFromParts, manifestLinkKey, referrersRoot } from '../storage/layout.js'
import { foldersIn } from '../storage/walk.js'
import type { Collection } from './collection.js'

interface Entry {
  subject: Digest
  digest: Digest
  key: string
}

/** Takes away entries of referrers that are no manifests of the repository any more. */
export async function sweepReferrers(
  repository: string,
  isHere: (digest: Digest) => boolean,
  run: Collection,
): Promise<void> {
  const stale: Entry[] = []
  for await (const { digest: subject, prefix } of foldersIn(run.driver, referrersRoot(repository))) {
    for await (const name of run.driver.names(prefix)) {
      await run.pace.step()
      const digest = digestFromParts(...(name.split('-', 2) as [string, string]))
      if (digest && !isHere(digest)) stale.push({ subject, digest, key: `${prefix}/${name}` })
    }
  }
  for (const entry of stale) {
    await run.pace.step()
    if (!(await removeEntry(repository, entry, run))) continue
    const { subject, digest } = entry
    await run.found({ kind: 'referrer', repository, digest, subject, why: 'the manifest is gone' })
  }
}

async function removeEntry(repository: string, { digest, key }: Entry, run: Collection): Promise<boolean> {
  const { driver, changes, cutoff, dryRun } = run
  return changes.alone(repository, async () => {
    const entry = await driver.stat(key)
    if (!entry || entry.modifiedAt > cutoff) return false
    // A push writes the manifest's link before this one, both under this lock.
    if (await driver.stat(manifestLinkKey(repository, digest))) return false
    if (!dryRun) await driver.delete(key)
    return true
  })
}
