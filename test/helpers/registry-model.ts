import { ARTIFACTS, type Artifact } from './model-world.js'

/** What should be in one repository. */
interface RepositoryModel {
  /** Names of artifacts. */
  tags: Map<string, string>
  /** Names of artifacts; `orphaned`: what held it was deleted. */
  manifests: Map<string, { orphaned: boolean }>
}

/** What a registry must hold, by what it has acknowledged. */
export class RegistryModel {
  readonly #repositories = new Map<string, RepositoryModel>()

  of(repository: string): RepositoryModel {
    const known = this.#repositories.get(repository) ?? { tags: new Map(), manifests: new Map() }
    this.#repositories.set(repository, known)
    return known
  }

  pushed(repository: string, name: string, tag: string | undefined): void {
    const { tags, manifests } = this.of(repository)
    manifests.set(name, { orphaned: false })
    if (tag !== undefined) tags.set(tag, name)
  }

  untagged(repository: string, tag: string): void {
    this.of(repository).tags.delete(tag)
  }

  deleted(repository: string, name: string): void {
    const { tags, manifests } = this.of(repository)
    const { children } = ARTIFACTS.get(name)!
    for (const [tag, named] of tags) if (named === name) tags.delete(tag)
    manifests.delete(name)
    const tagged = new Set(tags.values())
    for (const [other, state] of manifests) {
      const hung = children.includes(other) || ARTIFACTS.get(other)!.subject === name
      if (hung && !tagged.has(other)) state.orphaned = true
    }
  }

  /** A collection has run when everything was old. */
  collected(): void {
    for (const [repository, { manifests }] of this.#repositories) {
      for (const [name, { orphaned }] of manifests) {
        if (orphaned && !this.isHeld(repository, name)) manifests.delete(name)
      }
    }
  }

  /** Whether something keeps an artifact whose holder was deleted: a tag, another index, its subject. */
  isHeld(repository: string, name: string): boolean {
    const { tags, manifests } = this.of(repository)
    const { subject } = ARTIFACTS.get(name)!
    const listed = [...manifests.keys()].some((other) => ARTIFACTS.get(other)!.children.includes(name))
    return listed || [...tags.values()].includes(name) || (subject !== undefined && manifests.has(subject))
  }

  /** Artifacts that must be whole in a repository: garbage that is not collected yet among them is no fault. */
  needed(repository: string): Artifact[] {
    return [...this.of(repository).manifests.keys()].map((name) => ARTIFACTS.get(name)!)
  }
}
