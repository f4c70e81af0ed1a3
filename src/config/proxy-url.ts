import { UnitError } from '../lib/units.js'

const SCHEMES: Record<string, string> = {
  http: 'http',
  https: 'https',
  socks5: 'socks5',
  socks5h: 'socks5',
  socks: 'socks5',
}

/**
 * The address of a proxy as environment variables have it; without a scheme it is an HTTP proxy. No fault repeats the
 * text: it may hold a password.
 *
 * @returns http, https or socks5, credentials included; undefined for an empty text, which is no proxy
 * @throws {UnitError}
 */
export function proxyUrl(text: string): string | undefined {
  if (text.trim() === '') return undefined
  const [, written = 'http', rest = ''] = /^(?:([A-Za-z][A-Za-z0-9+.-]*):\/\/)?(.*)$/s.exec(text.trim()) ?? []
  const scheme = SCHEMES[written.toLowerCase()]
  if (!scheme) {
    throw new UnitError(`a proxy with scheme ${JSON.stringify(written)}: only http, https and socks5 are spoken`)
  }
  const url = URL.canParse(`${scheme}://${rest}`) ? new URL(`${scheme}://${rest}`) : undefined
  if (!url?.hostname || /\s/.test(rest)) {
    throw new UnitError('not the URL of a proxy: write it as in http://proxy.example:3128')
  }
  if (!/^\/?$/.test(url.pathname) || url.search || url.hash) {
    throw new UnitError('the URL of a proxy has a path: only scheme, credentials, host and port count')
  }
  if (![url.username, url.password].every(isDecodable)) {
    throw new UnitError('the credentials of the proxy hold a "%" that begins no escape: write %25 for it')
  }
  return url.href
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch (error) {
    if (error instanceof URIError) return false
    throw error
  }
}
