import { isIPv4, isIPv6, type Socket } from 'node:net'
import { basic, type Credential } from './token-source.js'

export interface Target {
  /** A name, or an address without brackets. */
  host: string
  port: number
}

/** A proxy did not open the way; the message says why, without any credential. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
}

const ANSWER_LIMIT = 16 * 1024

/** Opens a way to `target` through an HTTP proxy (RFC 9110, 9.3.6). @throws {ProxyError} */
export async function tunnelByConnect(socket: Socket, target: Target, credential?: Credential): Promise<void> {
  const authority = `${isIPv6(target.host) ? `[${target.host}]` : target.host}:${target.port}`
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`]
  if (credential) lines.push(`Proxy-Authorization: ${basic(credential)}`)
  const head = await ask(socket, Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), (received) => {
    const end = received.indexOf('\r\n\r\n')
    return end < 0 ? undefined : end + 4
  })
  const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1')) ?? []
  if (status === undefined) throw new ProxyError('the proxy does not speak HTTP')
  if (!status.startsWith('2')) throw new ProxyError(`the proxy answered ${status}`)
}

const VERSION = 5
const NO_AUTHENTICATION = 0
const PASSWORD = 2
const CONNECT = 1
const ADDRESS = { v4: 1, name: 3, v6: 4 }
/** RFC 1928, section 6. */
const REPLIES = [
  'succeeded',
  'general failure',
  'not allowed by its rules',
  'network unreachable',
  'host unreachable',
  'connection refused',
  'TTL expired',
  'command not supported',
  'address type not supported',
]

/** Opens a way to `target` through a SOCKS5 proxy, which resolves its name (RFC 1928, RFC 1929). @throws {ProxyError} */
export async function tunnelBySocks(socket: Socket, target: Target, credential?: Credential): Promise<void> {
  const methods = credential ? [NO_AUTHENTICATION, PASSWORD] : [NO_AUTHENTICATION]
  const [, method] = await ask(socket, Buffer.from([VERSION, methods.length, ...methods]), () => 2)
  if (method === PASSWORD && credential) await logIn(socket, credential)
  else if (method !== NO_AUTHENTICATION) throw new ProxyError('the proxy wants another authentication')
  const port = [target.port >> 8, target.port & 0xff]
  const request = Buffer.from([VERSION, CONNECT, 0, ...addressBytes(target.host), ...port])
  const [, reply] = await ask(socket, request, replyLength)
  if (reply !== 0) throw new ProxyError(`the proxy answered: ${REPLIES[reply ?? -1] ?? `code ${reply}`}`)
}

async function logIn(socket: Socket, { username, password }: Credential): Promise<void> {
  const [, status] = await ask(socket, Buffer.from([1, ...counted(username), ...counted(password)]), () => 2)
  if (status !== 0) throw new ProxyError('the proxy refused the credentials')
}

function addressBytes(host: string): number[] {
  if (isIPv4(host)) return [ADDRESS.v4, ...host.split('.').map(Number)]
  if (isIPv6(host)) return [ADDRESS.v6, ...groupsOf(host).flatMap((group) => [group >> 8, group & 0xff])]
  return [ADDRESS.name, ...counted(host)]
}

/** The eight groups of an IPv6 address as the URL parser prints it: no dots, no zone. */
function groupsOf(address: string): number[] {
  const [before = '', after] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
  const [head, tail] = [groups(before), groups(after ?? '')]
  return after === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail]
}

function counted(text: string): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length > 255) throw new ProxyError('a name or credential is too long for SOCKS')
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

function replyLength(received: Buffer): number | undefined {
  if (received.length < 5) return undefined
  const [, reply, , type, length = 0] = received
  // a refusal need not name an address
  if (reply !== 0) return received.length
  const address = type === ADDRESS.name ? 1 + length : type === ADDRESS.v6 ? 16 : 4
  return 4 + address + 2
}

/**
 * Sends `question` and reads the answer, which ends where `lengthOf` says; undefined while that cannot be told yet. What
 * comes beyond it is a fault: neither TLS nor HTTP lets the far end speak first.
 */
function ask(socket: Socket, question: Buffer, lengthOf: (received: Buffer) => number | undefined): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const settle = (end: () => void) => {
      socket.off('data', read).off('error', broke).off('close', closed).pause()
      end()
    }
    const fail = (error: Error) => settle(() => reject(error))
    const broke = (cause: Error) => fail(new ProxyError(`the way to the proxy broke: ${cause.message}`, { cause }))
    const closed = () => fail(new ProxyError('the proxy closed the connection'))
    const read = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      const length = lengthOf(received)
      if (length === received.length) settle(() => resolve(received))
      else if (received.length > Math.min(length ?? ANSWER_LIMIT, ANSWER_LIMIT)) {
        fail(new ProxyError('the proxy answered more than it may'))
      }
    }
    // it stays paused from the question before, also with a listener
    socket.on('data', read).on('error', broke).on('close', closed).resume()
    socket.write(question)
  })
}
