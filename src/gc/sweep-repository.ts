import { isNoRoom } from '../lib/disk-faults.js'
import type { Digest } from '../oci/digest.js'
import type { Repository, Tag } from '../oci/reference.js'
import { attachedManifests, fallbackTag } from '../oci/referrers.js'
import {
  blobKey,
  blobLinkKey,
  blobLinksPrefix,
  manifestLinkKey,
  referrerKey,
  repositoryOf,
  tagLinkKey,
} from '../storage/layout.js'
import { parseManifestLink, parseTagLink } from '../storage/links.js'
import { linksIn } from '../storage/walk.js'
import type { Collection } from './collection.js'
import { DigestSet } from './digest-set.js'
import { Dependents } from './liveness.js'
import { type MarkedManifest, markRepository, type RepositoryMarks } from './mark.js'
import { type Plan, planFor } from './plan.js'
import { sweepReferrers } from './referrers.js'
import type { RetentionRule } from './retention.js'

/** Changes made under a repository's lock at a time: pushes to it get their turn in between. */
const TOGETHER = 16

/**
 * Takes away what one repository that is pushed to needs no longer, the holders first: tags that a rule lets go, manifests,
 * entries of referrers, links to blobs. What stays is added to what is live.
 */
export async function sweepRepository(
  repository: string,
  rule: RetentionRule | undefined,
  run: Collection,
): Promise<void> {
  const marks = await markRepository(repository, run)
  const plan = await planFor(repository, marks, rule, run)
  const held = await untag(repository, marks, plan, run)
  // Not all file systems keep the order of deletions in a power failure: what holds is gone for good before what it holds.
  await run.driver.settle()
  const gone = await removeManifests(repository, marks, { ...plan, held }, run)
  const staying = [...marks.manifests.values()].filter(({ digest }) => !gone.has(digest))
  for (const { digest } of staying) run.live.add(digest)
  await sweepReferrers(repository, (digest) => marks.manifests.has(digest) && !gone.has(digest), run)
  await run.driver.settle()
  const unknown = marks.damagedTags.length > 0 || staying.some(({ readable }) => !readable)
  // Who pushes a large image has pushed its first layers long before its manifest.
  const pushing = run.changes.isUploading(repository, run.cutoff)
  await sweepBlobs(repository, { staying, unknown: unknown || pushing }, run)
}

/** @returns what still has a tag that was to go */
async function untag(
  repository: string,
  { tags }: RepositoryMarks,
  { tags: expired, untagged }: Plan,
  run: Collection,
): Promise<Set<Digest>> {
  const held = new Set<Digest>()
  const going = tags.filter(({ tag }) => expired.has(tag))
  for (let at = 0; at < going.length; at += TOGETHER) {
    await run.pace.step()
    const gone = await changing(repository, run, async (told) => {
      const few: typeof going = []
      for (const each of going.slice(at, at + TOGETHER)) {
        if (await removeTag(repository, each, untagged.has(each.digest), run)) {
          few.push(each)
          told(each.tag)
        } else held.add(each.digest)
      }
      return few
    })
    for (const { tag, digest } of gone) {
      await run.found({ kind: 'tag', repository, tag, digest, why: expired.get(tag)! })
    }
  }
  return held
}

/** @returns false when it was put again meanwhile, or the disk is full */
async function removeTag(
  repository: string,
  { tag, digest, taggedAt }: RepositoryMarks['tags'][number],
  lastOne: boolean,
  { driver, events, startedAt, dryRun }: Collection,
): Promise<boolean> {
  const key = tagLinkKey(repository, tag)
  const bytes = await driver.get(key)
  const link = bytes && parseTagLink(bytes)
  if (link?.digest !== digest || (link.taggedAt !== undefined && link.taggedAt !== taggedAt)) return false
  if (dryRun) return true
  // Before the tag goes, for the same reason as below.
  if (lastOne && !(await condemn(driver, manifestLinkKey(repository, digest), startedAt))) return false
  await driver.delete(key)
  events.emit('tag.deleted', { repository: repositoryOf(repository) as Repository, tag })
  return true
}

/** @returns false where the disk has no room for the mark: what it is written for the sake of has to stay then */
async function condemn(driver: Collection['driver'], key: string, at: number): Promise<boolean> {
  const bytes = await driver.get(key)
  const link = bytes && parseManifestLink(bytes)
  if (!link || link.orphanedAt !== undefined) return true
  try {
    await driver.put(key, JSON.stringify({ ...link, orphanedAt: at }))
    return true
  } catch (error) {
    if (isNoRoom(error)) return false
    throw error
  }
}

async function removeManifests(
  repository: string,
  { manifests, tags }: RepositoryMarks,
  { tags: expired, dying, tagged, held }: Plan & { held: ReadonlySet<Digest> },
  run: Collection,
): Promise<Set<Digest>> {
  const gone = new Set<Digest>()
  if (dying.size === 0) return gone
  const kept = tags.filter(({ tag }) => !expired.has(tag))
  const attached = attachedManifests(kept.map(({ tag, digest }) => [tag, digest]))
  const dependents = new Dependents(manifests)
  const spared = new Set<Digest>()
  dependents.keep(held, spared)
  const going = [...dying.keys()]
  for (let at = 0; at < going.length; at += TOGETHER) {
    await run.pace.step()
    const few = going.slice(at, at + TOGETHER)
    await changing(repository, run, async () => {
      for (const digest of few) {
        if (spared.has(digest)) continue
        const loose = dependents.owned(digest).filter((each) => !tagged.has(each))
        const left = [...loose, ...(attached.get(fallbackTag(digest)) ?? [])]
        if (await removeManifest(repository, manifests.get(digest)!, left, run)) gone.add(digest)
        // It was used meanwhile, or cannot go now, so what hangs on it is needed.
        else dependents.keep([digest], spared)
      }
    })
    for (const digest of few) {
      if (!gone.has(digest)) continue
      const { size } = manifests.get(digest)!
      await run.found({ kind: 'manifest', repository, digest, bytes: size, why: dying.get(digest)! })
    }
  }
  return gone
}

/** @param left what is here for its sake and has no tag but such that say so */
async function removeManifest(
  repository: string,
  { digest, subject }: MarkedManifest,
  left: readonly Digest[],
  { driver, store, events, startedAt, cutoff, dryRun }: Collection,
): Promise<boolean> {
  const removed = await store.unlessUsed(digest, cutoff, async () => {
    if (dryRun) return true
    // What is too young to go with it, or outlives a kill, must be known as garbage to the next run.
    for (const each of left) if (!(await condemn(driver, manifestLinkKey(repository, each), startedAt))) return false
    if (subject) await driver.delete(referrerKey(repository, subject, digest))
    await driver.delete(manifestLinkKey(repository, digest))
    events.emit('manifest.deleted', { repository: repositoryOf(repository) as Repository, digest })
    return true
  })
  return removed ?? false
}

/**
 * Uploads write links to blobs without the repository's lock, so it is the blob's own that keeps this apart from them.
 *
 * @param unknown any blob may be needed
 */
async function sweepBlobs(
  repository: string,
  { staying, unknown }: { staying: readonly MarkedManifest[]; unknown: boolean },
  run: Collection,
): Promise<void> {
  const needed = new DigestSet()
  for (const { needs } of staying) for (const print of needs) needed.addPrint(print)
  const candidates: Digest[] = []
  for await (const { digest } of linksIn(run.driver, blobLinksPrefix(repository))) {
    await run.pace.step()
    if (unknown || needed.has(digest)) run.live.add(digest)
    else candidates.push(digest)
  }
  await run.pace.each(candidates, async (digest) => {
    const bytes = await removeBlobLink(repository, digest, run)
    if (bytes === undefined) return run.live.add(digest)
    const why = run.isLost(digest) ? 'its bytes are gone' : 'no manifest names it'
    return run.found({ kind: 'blob', repository, digest, bytes, why })
  })
}

/** @returns the size of the blob; `undefined` when the link stays */
function removeBlobLink(
  repository: string,
  digest: Digest,
  { driver, store, cutoff, dryRun }: Collection,
): Promise<number | undefined> {
  const key = blobLinkKey(repository, digest)
  return store.unlessUsed(digest, cutoff, async () => {
    const link = await driver.stat(key)
    if (!link || link.modifiedAt > cutoff) return undefined
    const size = (await driver.stat(blobKey(digest)))?.size ?? 0
    if (!dryRun) await driver.delete(key)
    return size
  })
}

/** A dry run changes nothing, so it holds nobody up. */
function changing<Result>(
  repository: string,
  { changes, dryRun }: Collection,
  work: (untagged: (tag: Tag) => void) => Promise<Result>,
): Promise<Result> {
  return dryRun ? work(() => {}) : changes.alone(repository, work)
}
