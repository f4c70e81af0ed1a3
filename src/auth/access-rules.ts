import { globMatcher } from '../lib/glob.js'
import { ANYBODY } from '../lib/htpasswd.js'

export type Action = 'pull' | 'push' | 'delete'
export const ACTIONS: readonly Action[] = ['pull', 'push', 'delete']

/** Who may do what with the repositories that match. */
export interface AccessRule {
  /** `local/team-a/**`, `docker.io/library/*`: the registry's name stands before what is mirrored. */
  repositories: string
  /** `anonymous` is everybody; undefined: every user. */
  users?: readonly string[] | undefined
  actions: readonly Action[]
}

/** The beginning of patterns for local repositories alone: registries are hosts, with a dot, a port or that one name. */
const LOCAL = /^(?!localhost\/)[^/.:]+\//

/** All rules with one pattern. */
interface Compiled {
  /** What stands before the first wildcard. */
  beginning: string
  exact: boolean
  matches: (repository: string) => boolean
  rules: AccessRule[]
}

/**
 * The rules in the order in which they count: the longest beginning without a wildcard first, of equally long ones a
 * whole name before a pattern, and then the one that stands first in the file. Only the first pattern that matches a
 * repository counts for it, with all rules that have this pattern.
 */
export class AccessRules {
  readonly #patterns: readonly Compiled[]
  readonly #all: readonly AccessRule[]

  constructor(rules: readonly AccessRule[]) {
    const byPattern = new Map<string, AccessRule[]>()
    for (const rule of rules) byPattern.set(rule.repositories, [...(byPattern.get(rule.repositories) ?? []), rule])
    this.#all = rules
    this.#patterns = [...byPattern].map(([pattern, rules]) => compile(pattern, rules)).sort(bySpecificity)
  }

  get empty(): boolean {
    return this.#all.length === 0
  }

  /** @param user undefined: nobody in particular @returns `undefined` when no rule speaks of the repository */
  actions(user: string | undefined, repository: string): readonly Action[] | undefined {
    const rules = this.#patterns.find(({ matches }) => matches(repository))?.rules
    return rules?.filter((rule) => concerns(rule, user)).flatMap(({ actions }) => actions)
  }

  /** Whether some rule may speak of a repository that is read through. */
  get concernMirrored(): boolean {
    return this.#patterns.some(({ beginning }) => !LOCAL.test(beginning))
  }

  /** Whether some rule lets `user` pull something. */
  somewhere(user: string | undefined): boolean {
    return this.#all.some((rule) => concerns(rule, user) && rule.actions.includes('pull'))
  }
}

function concerns({ users }: AccessRule, user: string | undefined): boolean {
  if (!users) return user !== undefined
  return users.includes(ANYBODY) || (user !== undefined && users.includes(user))
}

function compile(pattern: string, rules: AccessRule[]): Compiled {
  const wildcard = pattern.indexOf('*')
  const exact = wildcard < 0
  return { beginning: exact ? pattern : pattern.slice(0, wildcard), exact, matches: globMatcher([pattern]), rules }
}

/** Stable, so that the order of the file decides last. */
function bySpecificity(one: Compiled, other: Compiled): number {
  return other.beginning.length - one.beginning.length || Number(other.exact) - Number(one.exact)
}
