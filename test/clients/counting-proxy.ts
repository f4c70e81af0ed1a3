import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request as open, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { type Fault, withFault } from './fault.js'
import { WORLD } from './world.js'

/** One request as it was seen in front of an upstream. */
export interface Asked {
  /** `GET /v2/library/hello/manifests/latest` */
  line: string
  /** The asker's address. */
  from: string
  range: string | undefined
  /** 0 until it is answered. */
  status: number
  /** Bytes of the body handed on so far. */
  bytes: number
  /** `performance.now()` when the first byte of the body was handed on. */
  firstByteAt: number | undefined
}

/** Stands in front of one upstream: keeps what was asked and how much was sent, and spoils blobs on demand. */
export class CountingProxy {
  asked: Asked[] = []
  /** What happens to the bodies of blobs from now on. */
  fault: Fault | undefined
  readonly name: string
  readonly port: number
  /** The registry behind it; may be changed, as when a name is served by replicas of which one lags. */
  target: string
  readonly #server: Server
  readonly #agent = new Agent({ keepAlive: true })

  private constructor(name: string, target: string, server: Server) {
    this.name = name
    this.target = target
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on('request', (request, response) => void this.#forward(request, response))
  }

  static async start({ name, target }: { name: string; target: string }): Promise<CountingProxy> {
    const server = createServer().listen(0, WORLD.upstreamAddress)
    await once(server, 'listening')
    return new CountingProxy(name, target, server)
  }

  get url(): string {
    return `http://${WORLD.upstreamAddress}:${this.port}`
  }

  /** Bytes of all bodies handed on. */
  get bytes(): number {
    return this.asked.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Requests for blobs. */
  get blobs(): Asked[] {
    return this.asked.filter(({ line }) => line.startsWith('GET ') && line.includes('/blobs/'))
  }

  forget(): void {
    this.asked = []
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
    this.#agent.destroy()
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = this.#note(request)
    const outgoing = open(new URL(request.url ?? '/', this.target), {
      agent: this.#agent,
      method: request.method ?? 'GET',
      headers: request.headers,
    })
    try {
      outgoing.end()
      const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
      asked.status = answer.statusCode ?? 0
      await this.#handOn(answer, response, asked)
    } catch {
      // One of the two ends went away, or a fault cut the body: the other end is cut too, as a proxy does.
      outgoing.destroy()
      response.destroy()
    }
  }

  async #handOn(answer: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void> {
    const isBlob = asked.line.startsWith('GET ') && asked.line.includes('/blobs/') && asked.status < 300
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const { headers, body } = withFault(isBlob ? this.fault : undefined, answer, gone.signal)
    response.writeHead(asked.status, headers)
    await pipeline(body, (chunks: AsyncIterable<Buffer>) => counted(chunks, asked), response)
  }

  #note(request: IncomingMessage): Asked {
    const asked: Asked = {
      line: `${request.method} ${request.url}`,
      from: request.socket.remoteAddress ?? '',
      range: request.headers.range,
      status: 0,
      bytes: 0,
      firstByteAt: undefined,
    }
    this.asked.push(asked)
    return asked
  }
}

async function* counted(body: AsyncIterable<Buffer>, asked: Asked): AsyncGenerator<Buffer> {
  for await (const chunk of body) {
    asked.firstByteAt ??= performance.now()
    asked.bytes += chunk.length
    yield chunk
  }
}
