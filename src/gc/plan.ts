import type { Digest } from '../oci/digest.js'
import type { Tag } from '../oci/reference.js'
import { attachedTo, fallbackTag } from '../oci/referrers.js'
import { manifestLinkKey } from '../storage/layout.js'
import { type Collection, lastUse } from './collection.js'
import { dyingManifests } from './liveness.js'
import type { MarkedManifest, RepositoryMarks } from './mark.js'
import { expiredTags, type RetentionRule } from './retention.js'

/** What is to go of a repository, unless it is used meanwhile. */
export interface Plan {
  /** Why each tag goes. */
  tags: Map<Tag, string>
  /** What has a tag all the same. */
  tagged: Set<Digest>
  /** Manifests that have none once those are gone. */
  untagged: Set<Digest>
  /** Why each manifest goes, in an order in which nothing goes after what hangs on it. */
  dying: Map<Digest, string>
}

/** Decides by what was marked, the rule and the grace period; changes nothing. */
export async function planFor(
  repository: string,
  marks: RepositoryMarks,
  rule: RetentionRule | undefined,
  run: Collection,
): Promise<Plan> {
  const { manifests, tags, damagedTags } = marks
  const expired = rule ? expiredTags(tags, rule, run.startedAt) : new Map<Tag, string>()
  for (const tag of strandedTags(marks, run)) expired.set(tag, 'what it was attached to was deleted')
  for (const { tag, taggedAt } of tags) if (taggedAt > run.cutoff) expired.delete(tag)
  const tagged = new Set(tags.filter(({ tag }) => !expired.has(tag)).map(({ digest }) => digest))
  const untagged = new Set(tags.map(({ digest }) => digest).filter((digest) => !tagged.has(digest)))
  const damaged = [...manifests.values()].filter((each) => blocks(each, tagged, run))
  for (const { digest } of damaged) run.damaged(repository, { digest })
  for (const tag of damagedTags) run.damaged(repository, { tag })
  if (damaged.length + damagedTags.length > 0) return { tags: expired, tagged, untagged, dying: new Map() }
  const use = new LastUses(repository, run)
  const reasons = new Map([...untagged].map((digest) => [digest, 'its last tag went']))
  const listed = new Set([...manifests.values()].flatMap((each) => [...each.manifests]))
  for (const each of manifests.values()) {
    const { digest } = each
    if (tagged.has(digest) || reasons.has(digest)) continue
    const replaced = each.fallback && listsReferrersAlone(each, manifests)
    const why = await reasonFor(each, { listed: listed.has(digest), replaced, rule, use, run })
    if (why !== undefined) reasons.set(digest, why)
  }
  const dying = await dyingManifests(manifests, {
    condemned: reasons.keys(),
    isTagged: (digest) => tagged.has(digest),
    isYoung: async (digest) => (await use.of(digest)) > run.cutoff,
  })
  return {
    tags: expired,
    tagged,
    untagged,
    dying: new Map(dying.map((each) => [each, reasons.get(each) ?? WITH_HOLDER])),
  }
}

const WITH_HOLDER = 'what it belongs to goes'

/**
 * The tags of signatures and the like whose image was here and is gone: their manifests were marked before it went. Those
 * of an image that was never here are needed by whoever keeps signatures apart.
 */
function strandedTags({ manifests, tags }: RepositoryMarks, { cutoff }: Collection): Tag[] {
  const here = new Set([...manifests.keys()].map(fallbackTag))
  const isStranded = ({ tag, digest }: RepositoryMarks['tags'][number]) => {
    const owner = attachedTo(tag)
    const { orphanedAt = Number.POSITIVE_INFINITY } = manifests.get(digest)!
    return owner !== undefined && !here.has(owner) && orphanedAt <= cutoff
  }
  return tags.filter(isStranded).map(({ tag }) => tag)
}

/** A needed manifest that cannot be read might name anything: nothing of the repository can be told to be garbage. */
function blocks({ digest, readable }: MarkedManifest, tagged: ReadonlySet<Digest>, { isLost }: Collection): boolean {
  return !readable && (tagged.has(digest) || !isLost(digest))
}

/** Whether an index can be one of referrers: that of an image may have a tag of the same form, made of what it was built from. */
function listsReferrersAlone({ manifests }: MarkedManifest, here: RepositoryMarks['manifests']): boolean {
  return manifests.every((digest) => {
    const listed = here.get(digest)
    return !listed || listed.subject !== undefined
  })
}

interface Circumstances {
  /** An index names it. */
  listed: boolean
  /** It is an index of referrers, and its fallback tag names another one or is gone. */
  replaced: boolean
  rule: RetentionRule | undefined
  use: LastUses
  run: Collection
}

/** Why a manifest without a tag goes unless something else needs it; `undefined`: it is kept. */
async function reasonFor(
  { digest, readable, orphanedAt, subject }: MarkedManifest,
  { listed, replaced, rule, use, run }: Circumstances,
): Promise<string | undefined> {
  if (!readable) return 'its bytes are gone'
  if (orphanedAt !== undefined) return orphanedAt > run.cutoff ? undefined : 'what it belonged to was deleted'
  if (replaced) return 'its fallback tag names another index, or is gone'
  const untaggedMs = rule?.untaggedMs
  // A referrer has no tag of its own: it lives as long as its subject, and beyond it where that was never here.
  if (untaggedMs === undefined || listed || subject !== undefined) return undefined
  return (await use.of(digest)) < run.startedAt - untaggedMs ? 'it has had no tag for too long' : undefined
}

/** When manifests of one repository were last used, each looked up once. */
class LastUses {
  readonly #known = new Map<Digest, number>()

  constructor(
    private readonly repository: string,
    private readonly run: Collection,
  ) {}

  async of(digest: Digest): Promise<number> {
    const known = this.#known.get(digest)
    if (known !== undefined) return known
    await this.run.pace.step()
    const at = (await lastUse(this.run, manifestLinkKey(this.repository, digest), digest)) ?? 0
    this.#known.set(digest, at)
    return at
  }
}
