import type { Digest } from '../oci/digest.js'
import type { MarkedManifest } from './mark.js'

type Node = Pick<MarkedManifest, 'digest' | 'manifests' | 'subject'>

/** What hangs on each manifest of one repository: those that it lists as an index, and those that refer to it. */
export class Dependents {
  readonly #nodes: ReadonlyMap<Digest, Node>
  readonly #referrers = new Map<Digest, Digest[]>()

  constructor(nodes: ReadonlyMap<Digest, Node>) {
    this.#nodes = nodes
    for (const { digest, subject } of nodes.values()) {
      if (subject === undefined) continue
      const known = this.#referrers.get(subject)
      if (known) known.push(digest)
      else this.#referrers.set(subject, [digest])
    }
  }

  /** What `digest` keeps here. */
  of(digest: Digest): Digest[] {
    const listed = this.#nodes.get(digest)?.manifests.filter((child) => this.#nodes.has(child)) ?? []
    return [...listed, ...(this.#referrers.get(digest) ?? [])]
  }

  /** What is here for `digest`'s sake: an index of referrers keeps what it lists, which is here for its subject's. */
  owned(digest: Digest): Digest[] {
    const isOwned = (child: Digest) => [undefined, digest].includes(this.#nodes.get(child)?.subject)
    return this.of(digest).filter(isOwned)
  }

  /** Adds to `reached` whatever `from` keeps, at any depth, and `from` itself. */
  keep(from: Iterable<Digest>, reached: Set<Digest>): void {
    reach(from, reached, (digest) => this.of(digest))
  }

  /** Adds to `reached` whatever is here for the sake of `from`, at any depth, and `from` itself. */
  own(from: Iterable<Digest>, reached: Set<Digest>, enters: (digest: Digest) => boolean): void {
    reach(from, reached, (digest) => this.owned(digest).filter(enters))
  }
}

function reach(from: Iterable<Digest>, reached: Set<Digest>, next: (digest: Digest) => Digest[]): void {
  const open = [...from]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (reached.has(at)) continue
    reached.add(at)
    for (const each of next(at)) open.push(each)
  }
}

/**
 * Which manifests of a repository go. A condemned one stays as long as an index that stays names it or its subject stays;
 * what is here for the sake of one that goes, goes with it, unless it has a tag or hangs on another one that stays.
 *
 * @param condemned those that nothing of their own keeps
 * @param isTagged those with a tag stay
 * @param isYoung those that were used lately stay for now, and hold what hangs on them; asked only where it matters
 * @returns in an order in which nothing goes after what hangs on it
 */
export async function dyingManifests(
  nodes: ReadonlyMap<Digest, Node>,
  {
    condemned,
    isTagged,
    isYoung,
  }: {
    condemned: Iterable<Digest>
    isTagged: (digest: Digest) => boolean
    isYoung: (digest: Digest) => Promise<boolean>
  },
): Promise<Digest[]> {
  const isLoose = (digest: Digest) => !isTagged(digest)
  const first = [...condemned].filter(isLoose)
  if (first.length === 0) return []
  const dependents = new Dependents(nodes)
  const candidates = new Set<Digest>()
  dependents.own(first, candidates, isLoose)
  const holding: Digest[] = []
  for (const digest of nodes.keys()) if (!candidates.has(digest) || (await isYoung(digest))) holding.push(digest)
  const staying = new Set<Digest>()
  dependents.keep(holding, staying)
  return holdersFirst(
    [...candidates].filter((digest) => !staying.has(digest)),
    dependents,
  )
}

/** Digests cannot go round in a circle. Chains of them can be longer than the stack is deep. */
function holdersFirst(digests: readonly Digest[], dependents: Dependents): Digest[] {
  const wanted = new Set(digests)
  const entered = new Set<Digest>()
  const order: Digest[] = []
  const open = [{ left: [...digests].reverse(), done: undefined as Digest | undefined }]
  for (let at = open.at(-1); at !== undefined; at = open.at(-1)) {
    const digest = at.left.pop()
    if (digest === undefined) {
      if (at.done !== undefined) order.push(at.done)
      open.pop()
    } else if (wanted.has(digest) && !entered.has(digest)) {
      entered.add(digest)
      open.push({ left: dependents.of(digest).reverse(), done: digest })
    }
  }
  return order.reverse()
}
