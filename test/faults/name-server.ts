import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once, setMaxListeners } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** How a name is answered: by its addresses, or by a fault. */
export type Answer = { addresses: string[]; delayMs?: number } | { fault: 'nxdomain' | 'servfail' }

const PORT = 53
const TYPES = { a: 1, aaaa: 28 }
const CODES = { nxdomain: 3, servfail: 2 }

/** A DNS server over UDP (RFC 1035) for a few names; every other name does not exist. */
export class NameServer {
  readonly names = new Map<string, Answer>()
  /** Names asked for, once for each type. */
  readonly asked: string[] = []
  readonly #socket: Socket
  readonly #closing = new AbortController()
  #address = ''

  private constructor(socket: Socket) {
    this.#socket = socket
    // Each answer that is waited with listens to it.
    setMaxListeners(0, this.#closing.signal)
    socket.on('message', (message, from) => void this.#answer(message, from))
  }

  /** @param address where it listens, at DNS's own port; each test file has one of its own */
  static async start(address: string): Promise<NameServer> {
    const socket = createSocket('udp4').bind(PORT, address)
    await once(socket, 'listening')
    const server = new NameServer(socket)
    server.#address = address
    return server
  }

  /** Writes the resolv.conf that leads here. */
  async writeResolvConf(file: string): Promise<string> {
    await writeFile(file, `nameserver ${this.#address}\noptions ndots:1\n`)
    return file
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    this.#socket.close()
    await once(this.#socket, 'close')
  }

  async #answer(message: Buffer, { address, port }: RemoteInfo): Promise<void> {
    const { name, type, end } = questionOf(message)
    this.asked.push(name)
    const answer = this.names.get(name) ?? { fault: 'nxdomain' }
    try {
      if ('delayMs' in answer) await sleep(answer.delayMs, undefined, { signal: this.#closing.signal })
    } catch {
      // It is being stopped.
      return
    }
    const reply =
      'fault' in answer
        ? [head(message, CODES[answer.fault], 0), message.subarray(12, end)]
        : records(message, end, type, answer.addresses)
    this.#socket.send(Buffer.concat(reply), port, address)
  }
}

function records(message: Buffer, end: number, type: number, addresses: readonly string[]): Buffer[] {
  const fitting = addresses.filter((address) => (isIPv4(address) ? TYPES.a : TYPES.aaaa) === type)
  return [head(message, 0, fitting.length), message.subarray(12, end), ...fitting.map((each) => record(each, type))]
}

/** Of the answer: recursion available, with its code and the number of records. */
function head(message: Buffer, code: number, records: number): Buffer {
  const bytes = Buffer.alloc(12)
  message.copy(bytes, 0, 0, 2)
  bytes.writeUInt16BE(0x8180 | code, 2)
  bytes.writeUInt16BE(1, 4)
  bytes.writeUInt16BE(records, 6)
  return bytes
}

/** One address of the name in the question; to be kept for no time. */
function record(address: string, type: number): Buffer {
  const bytes = type === TYPES.a ? Buffer.from(address.split('.').map(Number)) : bytesOf6(address)
  const fixed = Buffer.alloc(12)
  fixed.writeUInt16BE(0xc00c, 0)
  fixed.writeUInt16BE(type, 2)
  fixed.writeUInt16BE(1, 4)
  fixed.writeUInt16BE(bytes.length, 10)
  return Buffer.concat([fixed, bytes])
}

/** An address with one `::`. */
function bytesOf6(address: string): Buffer {
  const [left = [], right = []] = address.split('::').map((half) => half.split(':').filter(Boolean))
  const groups = [...left, ...Array(8 - left.length - right.length).fill('0'), ...right]
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

function questionOf(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    labels.push(message.subarray(at + 1, at + 1 + length).toString())
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 }
}
