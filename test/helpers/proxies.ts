import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Certified } from './certificates.js'
import { closing } from './upstream.js'

/** What went through a proxy. Whatever name it is asked for, it leads to the same port of this machine. */
export interface TestProxy {
  port: number
  /** The targets as they were asked for, `host:port`, in order. */
  asked: string[]
  /** `user:password` of each, where there was one. */
  credentials: (string | undefined)[]
  /** From targets. */
  bytes: number
}

interface ProxyOptions {
  /** Speaks TLS itself. */
  tls?: Certified
  /** `user:password`; whoever does not give it is refused. */
  wants?: string
}

/** An HTTP proxy that knows nothing but CONNECT. `closeAll` closes it. */
export async function startConnectProxy({ tls, wants }: ProxyOptions = {}): Promise<TestProxy> {
  const proxy: TestProxy = { port: 0, asked: [], credentials: [], bytes: 0 }
  const serve = (socket: Socket) => {
    socket.once('data', (head: Buffer) => {
      const [, target = ''] = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head.toString()) ?? []
      const [, basic] = /\r\nproxy-authorization: basic (\S+)\r\n/i.exec(head.toString()) ?? []
      const credential = basic === undefined ? undefined : Buffer.from(basic, 'base64').toString()
      proxy.asked.push(target)
      proxy.credentials.push(credential)
      if (wants !== undefined && credential !== wants) {
        return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n')
      }
      relay(proxy, socket, Number(target.split(':').at(-1)), () => socket.write('HTTP/1.1 200 Established\r\n\r\n'))
    })
  }
  proxy.port = await listen(tls ? createTlsServer(tls, serve) : createServer(serve))
  return proxy
}

/** A SOCKS5 proxy (RFC 1928); IPv6 addresses are noted as 32 digits. `closeAll` closes it. */
export async function startSocksProxy({ wants }: ProxyOptions = {}): Promise<TestProxy> {
  const proxy: TestProxy = { port: 0, asked: [], credentials: [], bytes: 0 }
  const serve = async (socket: Socket) => {
    const [greeting] = (await once(socket, 'data')) as [Buffer]
    const method = wants === undefined ? 0 : greeting.subarray(2).includes(2) ? 2 : 0xff
    socket.write(Buffer.from([5, method]))
    let credential: string | undefined
    if (method === 2) {
      const [login] = (await once(socket, 'data')) as [Buffer]
      const password = 2 + login[1]!
      credential = `${login.subarray(2, password)}:${login.subarray(password + 1)}`
      socket.write(Buffer.from([1, credential === wants ? 0 : 1]))
    }
    proxy.credentials.push(credential)
    if (method === 0xff || (wants !== undefined && credential !== wants)) return void socket.end()
    const [request] = (await once(socket, 'data')) as [Buffer]
    const port = request.readUInt16BE(request.length - 2)
    const host = request[3] === 3 ? request.subarray(5, -2).toString() : addressIn(request.subarray(4, -2))
    proxy.asked.push(`${host}:${port}`)
    relay(proxy, socket, port, () => socket.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0])))
  }
  proxy.port = await listen(createServer((socket) => void serve(socket).catch(() => socket.destroy())))
  return proxy
}

/**
 * TLS in front of a server that has none; `closeAll` closes it.
 *
 * @param to the server's port, asked for at each connection
 * @param clientCa whoever has no certificate of it is refused
 */
export async function startTlsFront(to: () => number, { cert, key }: Certified, clientCa?: string): Promise<number> {
  const mutual = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }
  return listen(createTlsServer({ cert, key, ...mutual }, (socket) => join(socket, connect(to(), '127.0.0.1'))))
}

function addressIn(bytes: Buffer): string {
  return bytes.length === 4 ? bytes.join('.') : bytes.toString('hex')
}

function relay(proxy: TestProxy, socket: Socket, port: number, established: () => void): void {
  const target = connect(port, '127.0.0.1', established)
  target.on('data', (chunk) => {
    proxy.bytes += chunk.length
  })
  join(socket, target)
}

function join(one: Socket, other: Socket): void {
  one.on('error', () => other.destroy()).on('close', () => other.destroy())
  other.on('error', () => one.destroy()).on('close', () => one.end())
  one.pipe(other)
  other.pipe(one)
}

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)))
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing({
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  })
  return (server.address() as AddressInfo).port
}
