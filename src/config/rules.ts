import { checkAuth } from './auth.js'
import { BROKEN, entriesOf, type Issue, isMap, itemsOf, valueAt } from './issues.js'
import { isHost, upstreamName } from './names.js'
import { DOCKER_HUB, DOCKER_HUB_ALIASES } from './shipped.js'

const COMPONENT = /^[a-z0-9]+(?:(?:_|__|-+)[a-z0-9]+)*$/

/**
 * What one key's schema cannot see: names that must differ, keys that need or exclude each other. Looks at a file that
 * may have failed the schema, so that every fault is told in one go.
 */
export function checkRules(raw: unknown): Issue[] {
  return [
    ...checkRegistries(raw),
    ...checkNames(raw),
    ...checkUpstreams(raw),
    ...checkNamespaces(raw),
    ...checkAuth(raw),
  ]
}

function registriesOf(raw: unknown): [string, unknown][] {
  return entriesOf(valueAt(raw, ['registries']))
}

function checkRegistries(raw: unknown): Issue[] {
  const registries = registriesOf(raw)
  const issues: Issue[] = registries
    .filter(([name]) => !isHost(name))
    .map(([name]) => ({ path: ['registries', name], message: `${JSON.stringify(name)} ${NO_HOST}`, atKey: true }))
  const defaults = registries.filter(([, registry]) =>
    ['true', true].includes(valueAt(registry, ['default']) as string),
  )
  for (const [name] of defaults.slice(1)) {
    const message = `a second default: ${defaults[0]![0]} is the default registry already`
    issues.push({ path: ['registries', name, 'default'], message, atKey: true })
  }
  if (defaults.length === 0 && isMap(valueAt(raw, ['registries'])) && !impliedDefault(registries)) {
    const message = 'no default registry: write default: true under the one that names without a registry belong to'
    issues.push({ path: ['registries'], message, atKey: true })
  }
  return issues
}

const NO_HOST = 'is not the host of a registry: lower case, such as ghcr.io or localhost:5000'

/** Without any `default: true` it is Docker Hub, as everywhere, unless that says `default: false`. */
function impliedDefault(registries: [string, unknown][]): boolean {
  return registries.some(([name, registry]) => name === DOCKER_HUB && valueAt(registry, ['default']) === undefined)
}

/** Every alias is a host, and no name leads to two registries. */
function checkNames(raw: unknown): Issue[] {
  const registries = registriesOf(raw)
  const owners = new Map(registries.map(([name]) => [name, name]))
  const issues: Issue[] = []
  for (const [name, registry] of registries) {
    for (const [index, alias] of itemsOf(valueAt(registry, ['aliases'])).entries()) {
      if (typeof alias !== 'string' || alias === BROKEN) continue
      const path = ['registries', name, 'aliases', index]
      const owner = owners.get(alias) ?? (DOCKER_HUB_ALIASES.includes(alias) && owners.get(DOCKER_HUB))
      if (!isHost(alias)) issues.push({ path, message: `${JSON.stringify(alias)} ${NO_HOST}` })
      else if (owner && !(owner === name && alias !== name)) {
        issues.push({ path, message: `alias ${JSON.stringify(alias)} leads to ${owner} already` })
      }
      if (!owners.has(alias)) owners.set(alias, name)
    }
  }
  return issues
}

function checkUpstreams(raw: unknown): Issue[] {
  return registriesOf(raw).flatMap(([name, registry]) => {
    const seen = new Set<string>()
    return itemsOf(valueAt(registry, ['upstreams'])).flatMap((upstream, index) => {
      const path = ['registries', name, 'upstreams', index]
      const accounts = itemsOf(valueAt(upstream, ['credentials']))
      const issues = [
        ...checkCredentials(upstream, path),
        ...accounts.flatMap((account, at) => checkCredentials(account, [...path, 'credentials', at])),
      ]
      const called = upstreamName(valueAt(upstream, ['name']), valueAt(upstream, ['url']))
      if (called === undefined || called === BROKEN) return issues
      if (seen.has(called)) {
        const message = `upstream name ${JSON.stringify(called)} is used twice in ${name}`
        issues.push({ path: [...path, 'name'], message })
      }
      seen.add(called)
      return issues
    })
  })
}

function checkCredentials(upstream: unknown, path: PropertyKey[]): Issue[] {
  const issues: Issue[] = []
  const username = valueAt(upstream, ['username'])
  const password = valueAt(upstream, ['password'])
  const key = (wanted: string) => (valueAt(upstream, [`${wanted}File`]) === undefined ? wanted : `${wanted}File`)
  if (username !== undefined && password === undefined) {
    issues.push({ path: [...path, key('username')], message: 'a username without a password', atKey: true })
  }
  if (username === undefined && password !== undefined) {
    issues.push({ path: [...path, key('password')], message: 'a password without a username', atKey: true })
  }
  if (typeof username === 'string' && username.includes(':')) {
    issues.push({ path: [...path, key('username')], message: 'a username cannot hold a colon (RFC 7617, section 2)' })
  }
  return issues
}

function checkNamespaces(raw: unknown): Issue[] {
  const registries = registriesOf(raw)
  const hosts = new Set(
    registries
      .flatMap(([name, registry]) => [name, ...itemsOf(valueAt(registry, ['aliases']))])
      .concat(DOCKER_HUB_ALIASES),
  )
  const seen = new Set<string>()
  return itemsOf(valueAt(raw, ['local', 'namespaces'])).flatMap((namespace, index) => {
    if (typeof namespace !== 'string' || namespace === BROKEN) return []
    const fault = seen.has(namespace) ? 'is listed twice' : namespaceFault(namespace, hosts)
    seen.add(namespace)
    const path = ['local', 'namespaces', index]
    return fault ? [{ path, message: `local namespace ${JSON.stringify(namespace)} ${fault}` }] : []
  })
}

function namespaceFault(namespace: string, hosts: Set<unknown>): string | undefined {
  if (hosts.has(namespace)) return 'is the name of a registry'
  if (/[.:]/.test(namespace) || namespace === 'localhost')
    return 'could be taken for a host: no dot, no colon, not localhost'
  if (namespace === 'library') return "would hide Docker Hub's official images"
  if (!COMPONENT.test(namespace))
    return 'is not one component of a name: lower-case letters and digits, joined by _, __ or -'
  return undefined
}
