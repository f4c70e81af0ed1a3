import { isIPv4 } from 'node:net'
import { UnitError } from '../lib/units.js'

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?)$/

/**
 * The address of an upstream, above its `/v2/`. No fault repeats the text: it may hold a password.
 *
 * @returns the URL without trailing slash
 * @throws {UnitError}
 */
export function upstreamUrl(text: string): string {
  const [, scheme, authority] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#\\]*)/.exec(text) ?? []
  if (scheme === undefined || authority === undefined) {
    throw new UnitError('not a URL: write it with its scheme, as in https://registry.example')
  }
  if (!/^https?$/i.test(scheme)) throw new UnitError(`scheme ${JSON.stringify(scheme)}: only http and https are spoken`)
  if (authority.includes('@')) throw new UnitError('credentials in the URL: use the keys username and password')
  if (/[\s\\]/.test(text)) throw new UnitError('white space or a backslash in the URL')
  if (/^(:\d*)?$/.test(authority)) throw new UnitError('a URL without a host')
  if (text.includes('?')) throw new UnitError('a query in the URL: only scheme, host, port and path count')
  if (text.includes('#')) throw new UnitError('a fragment in the URL: only scheme, host, port and path count')
  if (!URL.canParse(text)) throw new UnitError('not a URL: its host or port cannot be read')
  const url = new URL(text)
  if (!HOST.test(url.hostname) && !isIPv4(url.hostname)) throw new UnitError('a URL whose host is no host name')
  const path = url.pathname.replace(/\/+$/, '')
  if (/\/v[12]$/.test(path)) throw new UnitError(`${path.slice(-3)} at the end of the URL: leave it out, it is added`)
  return url.origin + path
}
