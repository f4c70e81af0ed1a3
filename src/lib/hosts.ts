import { BlockList, isIP, isIPv6 } from 'node:net'

/** Second-level labels under which countries register names, so that `a.edu.cn` and `b.edu.cn` are strangers. */
const SHARED_SECOND_LEVEL = new Set(['ac', 'co', 'com', 'edu', 'gov', 'net', 'or', 'org'])

/**
 * Not of the public Internet (IANA special-purpose registries): unspecified, private, shared (CGNAT, and Alibaba's
 * metadata service), loopback, link-local (the other clouds' metadata), protocol assignments, multicast, reserved; and
 * Azure's 168.63.129.16. Left out on purpose is 198.18.0.0/15, which local proxy programs answer for every public name.
 */
const INTERNAL_V4 = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['168.63.129.16', 32],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['224.0.0.0', 3],
] as const

/** Unspecified and loopback, unique local, link-local, site-local, multicast. */
const INTERNAL_V6 = [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 9],
  ['ff00::', 8],
] as const

/** What leads to an IPv4 address that is written in the last 32 bits: mapped, compatible, NAT64 (RFC 6052). */
const EMBEDDING = ['::ffff:', '::', '64:ff9b::']

const LOOPBACK = blockList([['127.0.0.0', 8]], [['::1', 128]])
const INTERNAL = blockList(INTERNAL_V4, INTERNAL_V6)
const INTERNAL_SUFFIX = /(^|\.)(localhost|local|localdomain|internal|intranet|lan|home|corp|home\.arpa)$/

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

/**
 * Whether a URL's host lies inside by what is written: an internal address, a name of one label, or one under a suffix
 * that nobody can register.
 */
export function isInternalHost(hostname: string): boolean {
  const address = addressOf(hostname)
  if (address) return isInternalAddress(address)
  const name = bareName(hostname)
  return !name.includes('.') || INTERNAL_SUFFIX.test(name)
}

/** Loopback, link-local, private, shared, reserved, or a cloud's metadata service; also within an IPv6 address. */
export function isInternalAddress(address: string): boolean {
  return INTERNAL.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** This machine itself: a loopback address, or a name that means one (RFC 6761, section 6.3). */
export function isLoopbackHost(hostname: string): boolean {
  const address = addressOf(hostname)
  if (address) return LOOPBACK.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  return /(^|\.)localhost$/.test(bareName(hostname))
}

/** The address in a URL's hostname (IPv6 in brackets), or undefined for a name. */
export function addressOf(hostname: string): string | undefined {
  const bare = hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(bare) ? bare : undefined
}

/** A name as it is compared: lower case, without the dot that may end it. */
export function bareName(hostname: string): string {
  return hostname.toLowerCase().replace(/\.$/, '')
}

function registrableDomain(hostname: string): string | undefined {
  const labels = hostname.toLowerCase().split('.')
  const country = labels.at(-1)?.length === 2 && SHARED_SECOND_LEVEL.has(labels.at(-2) ?? '')
  const wanted = country ? 3 : 2
  return labels.length >= wanted ? labels.slice(-wanted).join('.') : undefined
}

type Subnets = readonly (readonly [network: string, prefix: number])[]

function blockList(v4: Subnets, v6: Subnets): BlockList {
  const list = new BlockList()
  for (const [network, prefix] of v4) {
    list.addSubnet(network, prefix, 'ipv4')
    for (const before of EMBEDDING) list.addSubnet(before + network, 96 + prefix, 'ipv6')
  }
  for (const [network, prefix] of v6) list.addSubnet(network, prefix, 'ipv6')
  return list
}
