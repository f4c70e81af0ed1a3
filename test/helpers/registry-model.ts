import { ARTIFACTS, type Artifact, isRuled, isTakenByRule, SIGNATURE_TAG, SIGNED } from './model-world.js'

/** What should be in one repository. Times are the earliest there can be, in ms since the epoch. */
interface RepositoryModel {
  /** Each with the name of its artifact. */
  tags: Map<string, { name: string; at: number }>
  /** By the names of artifacts; `orphaned`: what held it was deleted, or a rule took its last tag. */
  manifests: Map<string, { orphaned: boolean; usedAt: number }>
}

/** What a collection takes of one repository. */
export interface Fate {
  tags: Set<string>
  /** Names of artifacts. */
  manifests: Set<string>
}

/** What a registry must hold, by what it has acknowledged. */
export class RegistryModel {
  readonly #repositories = new Map<string, RepositoryModel>()

  of(repository: string): RepositoryModel {
    const known = this.#repositories.get(repository) ?? { tags: new Map(), manifests: new Map() }
    this.#repositories.set(repository, known)
    return known
  }

  pushed(repository: string, { name, tag, at }: { name: string; tag: string | undefined; at: number }): void {
    const { tags, manifests } = this.of(repository)
    manifests.set(name, { orphaned: false, usedAt: at })
    if (tag !== undefined) tags.set(tag, { name, at })
  }

  used(repository: string, name: string, at: number): void {
    const known = this.of(repository).manifests.get(name)
    if (known) known.usedAt = at
  }

  untagged(repository: string, tag: string): void {
    this.of(repository).tags.delete(tag)
  }

  deleted(repository: string, name: string): void {
    const { tags, manifests } = this.of(repository)
    for (const [tag, named] of tags) if (named.name === name) tags.delete(tag)
    manifests.delete(name)
    for (const other of this.#hanging(repository, name)) {
      if (!this.isTagged(repository, other)) manifests.get(other)!.orphaned = true
    }
    if (name !== SIGNED) return
    for (const [other, state] of manifests) if (this.#isSignature(repository, other)) state.orphaned = true
  }

  /** A collection took it: its last tag that a rule takes condemns what it named. */
  expired(repository: string, tag: string): void {
    const { tags, manifests } = this.of(repository)
    const named = tags.get(tag)
    tags.delete(tag)
    if (named && !this.isTagged(repository, named.name)) manifests.get(named.name)!.orphaned = true
  }

  /** A collection has run with nothing beside it; all marks of orphans were made before `cutoff`. */
  collected(repository: string, cutoff: number): void {
    const { tags, manifests } = this.fate(repository, cutoff)
    for (const tag of tags) this.expired(repository, tag)
    for (const name of manifests) this.deleted(repository, name)
  }

  /** What a collection takes that leaves what was put or used after `cutoff`, in ms since the epoch. */
  fate(repository: string, cutoff: number): Fate {
    const { tags, manifests } = this.of(repository)
    const going = this.#goingTags(repository, cutoff)
    const tagged = new Set([...tags].flatMap(([tag, { name }]) => (going.has(tag) ? [] : [name])))
    const bereft = new Set([...going].map((tag) => tags.get(tag)!.name))
    const condemned = new Set<string>()
    for (const [name, { orphaned }] of manifests) {
      if (orphaned || bereft.has(name) || this.#isTakenUntagged(repository, name)) condemned.add(name)
    }
    const gone = new Set<string>()
    // A set that grows is gone through to its end: a holder that goes lets its dependents go, and has them looked at again.
    for (const name of condemned) {
      if (gone.has(name) || tagged.has(name) || manifests.get(name)!.usedAt > cutoff) continue
      if (this.holders(repository, name).some((holder) => !gone.has(holder))) continue
      gone.add(name)
      for (const other of this.#hanging(repository, name)) {
        condemned.delete(other)
        condemned.add(other)
      }
    }
    return { tags: going, manifests: gone }
  }

  /** What is there as long as `name` is, itself among it. */
  heldBy(repository: string, name: string): Set<string> {
    const held = new Set([name])
    for (const each of held) for (const other of this.#hanging(repository, each)) held.add(other)
    return held
  }

  /** Artifacts that must be whole in a repository: garbage that is not collected yet among them is no fault. */
  needed(repository: string): Artifact[] {
    return [...this.of(repository).manifests.keys()].map((name) => ARTIFACTS.get(name)!)
  }

  #goingTags(repository: string, cutoff: number): Set<string> {
    const { tags, manifests } = this.of(repository)
    const going = new Set<string>()
    const counted = [...tags].filter(([tag]) => isRuled(repository) && isTakenByRule(tag))
    const newest = Math.max(...counted.map(([, { at }]) => at))
    for (const [tag, { at }] of counted) if (at < newest && at <= cutoff) going.add(tag)
    const signature = tags.get(SIGNATURE_TAG)
    const stranded = signature && !manifests.has(SIGNED) && manifests.get(signature.name)!.orphaned
    if (stranded && signature.at <= cutoff) going.add(SIGNATURE_TAG)
    return going
  }

  #isTakenUntagged(repository: string, name: string): boolean {
    const { subject } = ARTIFACTS.get(name)!
    return isRuled(repository) && subject === undefined && this.holders(repository, name).length === 0
  }

  isTagged(repository: string, name: string): boolean {
    return [...this.of(repository).tags.values()].some((named) => named.name === name)
  }

  /** Every tag that it has speaks of `SIGNED`. */
  #isSignature(repository: string, name: string): boolean {
    const own = [...this.of(repository).tags].filter(([, named]) => named.name === name)
    return own.length > 0 && own.every(([tag]) => tag === SIGNATURE_TAG)
  }

  #hanging(repository: string, name: string): string[] {
    const { children } = ARTIFACTS.get(name)!
    const isHanging = (other: string) => children.includes(other) || ARTIFACTS.get(other)!.subject === name
    return [...this.of(repository).manifests.keys()].filter(isHanging)
  }

  holders(repository: string, name: string): string[] {
    const { subject } = ARTIFACTS.get(name)!
    const isHolder = (other: string) => other === subject || ARTIFACTS.get(other)!.children.includes(name)
    return [...this.of(repository).manifests.keys()].filter(isHolder)
  }
}
