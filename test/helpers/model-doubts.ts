import { ARTIFACTS, REPOSITORIES } from './model-world.js'
import type { Fate, RegistryModel } from './registry-model.js'

/** What is really there, to be looked up where nobody's question counts as use. */
export interface Reality {
  hasTag(repository: string, tag: string): boolean
  hasManifest(repository: string, name: string): boolean
  /** Whether a manifest that is there is marked as an orphan. */
  isOrphaned(repository: string, name: string): boolean
}

/**
 * What collections may have taken while other things were under way: of all that was their due at some moment nobody can
 * say whether it has gone, until they have ended. Then the model learns which of it has; nothing else may have.
 */
export class Doubts {
  readonly #model: RegistryModel
  readonly #cutoff: number
  readonly #due = new Map<string, Fate>(REPOSITORIES.map((each) => [each, { tags: new Set(), manifests: new Set() }]))
  readonly #pushed = new Map<string, Set<string>>(REPOSITORIES.map((each) => [each, new Set()]))
  /** Of which it is not known whether they were marked before the mark was taken away, or after. */
  readonly #unsure = new Map<string, Set<string>>(REPOSITORIES.map((each) => [each, new Set()]))

  /** @param cutoff what was put or used after it stays, in ms since the epoch; -Infinity where nothing is collected */
  constructor(model: RegistryModel, cutoff: number) {
    this.#model = model
    this.#cutoff = cutoff
    this.changed()
  }

  /** To be called after each change of the model. */
  changed(): void {
    for (const [repository, due] of this.#due) {
      const { tags, manifests } = this.#model.fate(repository, this.#cutoff)
      for (const tag of tags) due.tags.add(tag)
      for (const name of manifests) due.manifests.add(name)
    }
  }

  ofTag(repository: string, tag: string): boolean {
    return this.#due.get(repository)!.tags.has(tag)
  }

  ofManifest(repository: string, name: string): boolean {
    return this.#due.get(repository)!.manifests.has(name)
  }

  /** @param replaced what the tag named before */
  pushed(
    repository: string,
    { name, tag, replaced }: { name: string; tag: string | undefined; replaced: string | undefined },
  ): void {
    const due = this.#due.get(repository)!
    if (replaced !== undefined && tag !== undefined && due.tags.has(tag)) this.#unsure.get(repository)!.add(replaced)
    if (tag !== undefined) due.tags.delete(tag)
    due.manifests.delete(name)
    this.#pushed.get(repository)!.add(name)
    this.#unsure.get(repository)!.add(name)
    this.changed()
  }

  /** Somebody was told that it is there: it stays, and so does what it holds unless that went before it was put again. */
  used(repository: string, name: string): void {
    const pushed = this.#pushed.get(repository)!
    const held = pushed.has(name) ? [name] : this.#model.heldBy(repository, name)
    for (const each of held) this.#due.get(repository)!.manifests.delete(each)
  }

  /** To be called when all has ended. */
  resolve(reality: Reality): void {
    for (const [repository, { tags, manifests }] of this.#due) {
      const model = this.#model.of(repository)
      for (const tag of tags) {
        if (model.tags.has(tag) && !reality.hasTag(repository, tag)) this.#model.expired(repository, tag)
      }
      const isGone = (name: string) => model.manifests.has(name) && !reality.hasManifest(repository, name)
      const gone = new Set([...manifests].filter(isGone))
      // One that something there still holds was not to go, and will be missed.
      const isDue = (name: string) =>
        !this.#model.isTagged(repository, name) && this.#holding(repository, name).every((each) => gone.has(each))
      const due = [...gone].filter(isDue)
      for (const name of due) this.#model.deleted(repository, name)
      for (const name of this.#unsure.get(repository)!) {
        const state = model.manifests.get(name)
        if (state && reality.hasManifest(repository, name)) state.orphaned = reality.isOrphaned(repository, name)
      }
    }
  }

  #holding(repository: string, name: string): string[] {
    const pushed = this.#pushed.get(repository)!
    const holders = this.#model.holders(repository, name)
    const isNew = (holder: string) => pushed.has(holder) && !ARTIFACTS.get(holder)!.children.includes(name)
    return holders.filter((each) => !isNew(each))
  }
}
