import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request as open, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { type AddressInfo, createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { TLSSocket } from 'node:tls'
import type { Certified } from '../certificates.js'
import { type Fault, isOccasion, type Occasion, type Subject, subjectOf } from './fault.js'
import { Line } from './line.js'
import { distort, instead, type Reply, type Situation } from './reply.js'
import { BreakError } from './spoil.js'

/** One request as it was seen in front of an upstream. */
export interface Asked extends Subject {
  /** `GET /v2/library/hello/manifests/latest` */
  line: string
  /** The asker's address. */
  from: string
  authorization: string | undefined
  /** The Host header. */
  host: string | undefined
  /** `performance.now()` when it came. */
  at: number
  /** 0 until it is answered. */
  status: number
  /** Bytes of the body handed on so far. */
  bytes: number
  /** `performance.now()` when the first byte of the body was handed on. */
  firstByteAt: number | undefined
  /** `answering`; `done` when the whole answer went out; `gone` when the asker left, or a fault ended it, before that. */
  state: 'answering' | 'done' | 'gone'
}

/**
 * What happens to those who connect: let in; refused, since nobody listens; reset; accepted and never answered a byte; sent
 * a TLS alert.
 */
export type Door = 'open' | 'shut' | 'reset' | 'silent' | 'alert'

/** A fault under way. */
export interface Injected {
  /** How many requests it met. */
  readonly met: number
  end(): void
}

interface Rule {
  faults: Fault[]
  on: Occasion
  left: number
  met: number
}

export interface FaultProxyOptions {
  name: string
  address: string
  /** A free one when left out. */
  port?: number
  /** The registry behind it. */
  target: string
  /** Speaks TLS with it, of these protocols preferably the first; HTTP/1.1 alone when left out. */
  tls?: (Certified & { ALPNProtocols?: string[] }) | undefined
  /** Instead of the address, in `url`. */
  host?: string | undefined
}

/** `handshake_failure`, fatal (RFC 8446, section 6). */
const ALERT = Buffer.from([0x15, 3, 3, 0, 2, 2, 40])

/** Stands in front of one upstream registry: keeps what was asked and how much was sent, and misbehaves on demand. */
export class FaultProxy {
  asked: Asked[] = []
  readonly name: string
  readonly address: string
  readonly port: number
  /** The registry behind it; may be changed, as when a name is served by replicas of which one lags. */
  target: string
  readonly line = new Line()
  /** Connections that came. */
  accepted = 0
  /** Requests under way at once, at most. */
  peak = 0
  /** What was agreed on with each who spoke TLS: `false` where it asked for nothing (ALPN, RFC 7301). */
  protocols: (string | false | null)[] = []
  readonly #host: string
  readonly #tls: boolean
  readonly #front: NetServer
  readonly #server: Server | TlsServer
  readonly #sockets = new Set<Socket>()
  readonly #agent = new Agent({ keepAlive: true })
  #rules: Rule[] = []
  #door: Door = 'open'

  private constructor({ name, address, target, tls, host }: FaultProxyOptions, front: NetServer) {
    this.name = name
    this.address = address
    this.target = target
    this.#tls = tls !== undefined
    this.#front = front
    this.#host = host ?? address
    this.port = (front.address() as AddressInfo).port
    const serve = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response)
    this.#server = tls ? createTlsServer(tls, serve) : createServer(serve)
    // Who speaks no TLS, or trusts us not, is of no interest here.
    this.#server.on('tlsClientError', () => {})
    this.#server.on('secureConnection', ({ alpnProtocol }: TLSSocket) => this.protocols.push(alpnProtocol))
    front.on('connection', (socket) => this.#meet(socket))
  }

  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const front = createNetServer({ noDelay: true }).listen(options.port ?? 0, options.address)
    await once(front, 'listening')
    return new FaultProxy(options, front)
  }

  get url(): string {
    return `${this.#tls ? 'https' : 'http'}://${this.#host}:${this.port}`
  }

  /** Bytes of all bodies handed on. */
  get bytes(): number {
    return this.asked.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** GETs of blobs. */
  get blobs(): Asked[] {
    return this.asked.filter(({ method, kind }) => method === 'GET' && kind === 'blob')
  }

  /** Connections that are open now. */
  get sockets(): number {
    return this.#sockets.size
  }

  /** From now on, to the requests that fit, the first that fits counting; `times` of them. */
  inject(fault: Fault | Fault[], on: Occasion = {}, times = Number.POSITIVE_INFINITY): Injected {
    const rule: Rule = { faults: [fault].flat(), on, left: times, met: 0 }
    this.#rules.push(rule)
    return {
      get met() {
        return rule.met
      },
      end: () => {
        this.#rules = this.#rules.filter((each) => each !== rule)
      },
    }
  }

  /** Whoever connects from now on meets this; connections that stand are cut unless it opens. */
  async setDoor(door: Door): Promise<void> {
    const was = this.#door
    this.#door = door
    if (was === 'shut' && door !== 'shut') {
      this.#front.listen(this.port, this.address)
      await once(this.#front, 'listening')
    }
    if (door === 'open') return
    const closed = door === 'shut' && was !== 'shut' ? once(this.#front, 'close') : undefined
    if (closed) this.#front.close()
    this.cut()
    await closed
  }

  /** Resets every connection that stands. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Another certificate from now on; connections that stand are cut. */
  present(certified: Certified): void {
    ;(this.#server as TlsServer).setSecureContext(certified)
    this.cut()
  }

  /** Behaves again. */
  async heal(): Promise<void> {
    this.#rules = []
    this.line.bytesPerSecond = undefined
    await this.setDoor('open')
  }

  forget(): void {
    this.asked = []
    this.accepted = 0
    this.peak = 0
    this.protocols = []
  }

  async stop(): Promise<void> {
    this.cut()
    if (this.#front.listening) {
      this.#front.close()
      await once(this.#front, 'close')
    }
    this.#agent.destroy()
  }

  #meet(socket: Socket): void {
    this.accepted++
    this.#sockets.add(socket)
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    if (this.#door === 'reset') socket.resetAndDestroy()
    else if (this.#door === 'alert') socket.once('data', () => socket.end(ALERT))
    else if (this.#door === 'silent') socket.resume()
    else this.#server.emit('connection', socket)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = this.#note(request)
    const gone = new AbortController()
    response.on('close', () => {
      gone.abort()
      asked.state = response.writableFinished ? 'done' : 'gone'
    })
    const situation = { url: request.url ?? '/', gone: gone.signal, now: Date.now }
    try {
      const reply = await this.#replyTo(request, this.#faultsFor(asked), situation)
      asked.status = reply.status
      response.writeHead(reply.status, reply.headers)
      await pipeline(reply.body, (chunks: AsyncIterable<Buffer>) => this.#counted(chunks, asked, gone.signal), response)
    } catch (error) {
      // One of the two ends went away, or a fault cut the answer: the other end is cut too, as a proxy does.
      if (error instanceof BreakError && error.how === 'reset') request.socket.resetAndDestroy()
      else request.socket.destroy()
    }
  }

  async #replyTo(request: IncomingMessage, faults: Fault[], situation: Situation): Promise<Reply> {
    let reply: Reply | undefined
    for (const fault of faults) reply ??= await instead(fault, situation)
    const ignoresRange = faults.some(({ kind }) => kind === 'ignore-range')
    reply ??= await this.#ask(request, situation, ignoresRange)
    const isGood = reply.status < 300
    for (const fault of faults) {
      // What spoils content leaves a challenge or an error as it is.
      if (isGood || fault.kind === 'delay' || fault.kind === 'headers') reply = await distort(fault, reply, situation)
    }
    return reply
  }

  async #ask(request: IncomingMessage, { gone }: Situation, ignoresRange: boolean): Promise<Reply> {
    const { range, ...headers } = request.headers
    const outgoing = open(new URL(request.url ?? '/', this.target), {
      agent: this.#agent,
      method: request.method ?? 'GET',
      headers: range === undefined || ignoresRange ? headers : { ...headers, range },
    })
    gone.addEventListener('abort', () => outgoing.destroy(), { once: true })
    outgoing.end()
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    return { status: answer.statusCode ?? 0, headers: answer.headers, body: answer }
  }

  #faultsFor(asked: Asked): Fault[] {
    const rule = this.#rules.find(({ left, on }) => left > 0 && isOccasion(on, asked))
    if (!rule) return []
    rule.left--
    rule.met++
    return rule.faults
  }

  #note(request: IncomingMessage): Asked {
    const { method = 'GET', url = '/', headers, socket } = request
    const asked: Asked = {
      ...subjectOf(method, url, headers.range),
      line: `${method} ${url}`,
      from: socket.remoteAddress ?? '',
      authorization: headers.authorization,
      host: headers.host,
      at: performance.now(),
      status: 0,
      bytes: 0,
      firstByteAt: undefined,
      state: 'answering',
    }
    this.asked.push(asked)
    this.peak = Math.max(this.peak, this.asked.filter(({ state }) => state === 'answering').length)
    return asked
  }

  async *#counted(body: AsyncIterable<Buffer>, asked: Asked, gone: AbortSignal): AsyncGenerator<Buffer> {
    for await (const chunk of body) {
      await this.line.pass(chunk.length, gone)
      asked.firstByteAt ??= performance.now()
      asked.bytes += chunk.length
      yield chunk
    }
  }
}
