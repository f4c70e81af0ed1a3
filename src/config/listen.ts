import { isIP, isIPv4, isIPv6 } from 'node:net'
import { UnitError } from '../lib/units.js'

const HOST_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/

/**
 * `0.0.0.0:5000`, `[::]:5000`, `localhost:5000`; `:5000` and `5000` are every IPv4 address. Port 0 takes any free one.
 *
 * @throws {UnitError}
 */
export function parseListen(text: string): { host: string; port: number } {
  const shown = JSON.stringify(text)
  const [, bracketed, plain = '', digits = ''] = /^(?:\[([^\]]*)\]:|([^:[\]]*):)?(\d+)$/.exec(text) ?? []
  if (digits === '') {
    const hint = isIP(text) === 6 || text.split(':').length > 2 ? 'write an IPv6 address in brackets, as in' : 'write'
    throw new UnitError(`${shown} is not an address to listen on: ${hint} 0.0.0.0:5000, [::]:5000 or :5000`)
  }
  const port = Number(digits)
  if (port > 65_535) throw new UnitError(`${shown} is not an address to listen on: a port is at most 65535`)
  const host = bracketed ?? (plain || '0.0.0.0')
  if (bracketed === undefined ? isHost(host) : isIPv6(host)) return { host, port }
  throw new UnitError(`${shown} is not an address to listen on: ${JSON.stringify(host)} is no host`)
}

function isHost(text: string): boolean {
  // All digits and dots was meant as an address, and 0.0.0 or 256.0.0.1 is none.
  return /^[0-9.]+$/.test(text) ? isIPv4(text) : HOST_NAME.test(text)
}
