import type { FastifyRequest } from 'fastify'
import { speaksForOthers } from './subject.js'

/** A host name, an address, or an IPv6 address in brackets, with a port or without. */
const AUTHORITY = /^(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i

/**
 * Where a client fetches its token, which is where it sends its password: below the address that it has used itself
 * (Host). A reverse proxy may say another host and scheme (X-Forwarded-Host, X-Forwarded-Proto) if its address is of this
 * machine or network; what is no host is not believed.
 *
 * @param configured from `auth.realm`, which counts before all
 */
export function realmOf({ raw }: Pick<FastifyRequest, 'raw'>, configured: string | undefined): string {
  if (configured !== undefined) return configured
  const { headers, socket } = raw
  const near = speaksForOthers(socket)
  const said = (name: string) => (near ? firstOf(headers[name]) : undefined)
  const scheme = said('x-forwarded-proto')?.toLowerCase() === 'https' || 'encrypted' in socket ? 'https' : 'http'
  const host = [said('x-forwarded-host'), headers.host].find((name) => name !== undefined && AUTHORITY.test(name))
  return `${scheme}://${host ?? ownAddress(socket)}/token`
}

/** The first of a list is what the client has used. */
function firstOf(header: string | string[] | undefined): string | undefined {
  return header === undefined ? undefined : String(header).split(',', 1)[0]!.trim()
}

/** For a client that sends no host (HTTP/1.0). */
function ownAddress({ localAddress = '127.0.0.1', localPort = 80 }: { localAddress?: string; localPort?: number }) {
  return `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`
}
