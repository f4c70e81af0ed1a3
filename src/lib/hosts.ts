import { isIP } from 'node:net'

/** Second-level labels under which countries register names, so that `a.edu.cn` and `b.edu.cn` are strangers. */
const SHARED_SECOND_LEVEL = new Set(['ac', 'co', 'com', 'edu', 'gov', 'net', 'or', 'org'])

/**
 * Whether two host names belong to one owner, as far as names tell: they are equal, or share their registrable domain.
 * That is taken to be the last two labels, or three under a country's `com`, `edu` and the like. Addresses must be equal.
 */
export function sameOwner(a: string, b: string): boolean {
  if (a === b) return true
  if (addressOf(a) || addressOf(b)) return false
  const domain = registrableDomain(a)
  return domain !== undefined && domain === registrableDomain(b)
}

/** Loopback, link-local (where clouds keep their metadata service) and unspecified addresses, and `localhost`. */
export function isInternalHost(hostname: string): boolean {
  const address = addressOf(hostname)
  if (!address) return hostname === 'localhost' || hostname.endsWith('.localhost')
  return /^(127\.|169\.254\.|0\.|::1$|::$|fe[89ab]|::ffff:(7f|a9fe|0:))/i.test(address)
}

function registrableDomain(hostname: string): string | undefined {
  const labels = hostname.toLowerCase().split('.')
  const country = labels.at(-1)?.length === 2 && SHARED_SECOND_LEVEL.has(labels.at(-2) ?? '')
  const wanted = country ? 3 : 2
  return labels.length >= wanted ? labels.slice(-wanted).join('.') : undefined
}

/** The address in a URL's hostname (IPv6 in brackets), or undefined for a name. */
function addressOf(hostname: string): string | undefined {
  const bare = hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(bare) ? bare : undefined
}
