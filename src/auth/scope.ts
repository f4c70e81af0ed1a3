import { ACTIONS, type Action } from './access-rules.js'

/** What a token is good for (Docker token specification, "access"). */
export interface Grant {
  type: string
  name: string
  actions: readonly string[]
}

/** What lists repositories, as registries of Docker's name it. */
export const CATALOG: Grant = { type: 'registry', name: 'catalog', actions: ['*'] }

/** Beyond it a request asks for more than any client does. */
const MOST_SCOPES = 64
const NAME_LIMIT = 255

/**
 * Reads `scope` parameters: each may hold several, apart by spaces; `repository:host:5000/app:pull,push`. What is none
 * is passed over, since a client asks again for what it does not get.
 */
export function parseScopes(texts: readonly string[]): Grant[] {
  const scopes = texts.flatMap((text) => text.split(' ')).filter((text) => text !== '')
  return scopes.slice(0, MOST_SCOPES).flatMap((text) => {
    // The name may hold a colon, and the type a class: repository(plugin).
    const match = /^([a-z]+)(?:\([a-z]+\))?:(.+):([a-z*,]*)$/.exec(text)
    if (!match || match[2]!.length > NAME_LIMIT) return []
    const actions = match[3]!.split(',').filter((action) => action !== '')
    return [{ type: match[1]!, name: match[2]!, actions: [...new Set(actions)] }]
  })
}

/** The actions of a repository that are asked for; `*` is all. */
export function actionsAsked({ actions }: Grant): Action[] {
  return ACTIONS.filter((action) => actions.includes(action) || actions.includes('*'))
}

/** Whether what was granted is enough for a need. */
export function grantFor(
  grants: readonly Grant[],
  { action, repository, names }: { action: Action; repository: string; names: readonly string[] },
): boolean {
  return grants.some(
    ({ type, name, actions }) =>
      type === 'repository' && (name === repository || names.includes(name)) && actions.includes(action),
  )
}

/** Whether a scope is `CATALOG`. */
export function isCatalog({ type, name, actions }: Grant): boolean {
  return type === CATALOG.type && name === CATALOG.name && actions.includes('*')
}

/** A scope as a challenge shows it. */
export function printScope({ type, name, actions }: Grant): string {
  return `${type}:${name}:${actions.join(',')}`
}
