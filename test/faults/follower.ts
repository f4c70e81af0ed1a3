import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request as open } from 'node:http'
import { expect } from 'vitest'

const PATIENCE = { interval: 10, timeout: 20_000 }

/** A client whose body is read as the test says: held back, left, or to its end with its digest computed. */
export class Follower {
  bytes = 0
  /** Resolves at the end of the body. @throws when it is cut */
  readonly done: Promise<{ digest: string; bytes: number }>
  readonly #response: IncomingMessage
  #failure: unknown
  #limit: number

  private constructor(response: IncomingMessage, limit: number) {
    this.#response = response
    this.#limit = limit
    this.done = this.#read()
    this.done.catch((error: unknown) => {
      this.#failure = error
    })
  }

  /** Resolves with the head of the answer. @param limit bytes after which it reads no more until `goOn` */
  static async open(url: string, { limit = Number.POSITIVE_INFINITY } = {}): Promise<Follower> {
    const request = open(url, { agent: false })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    // A connection that is reset is an error of the request too; the body tells of it.
    request.on('error', () => {})
    return new Follower(response, limit)
  }

  get status(): number {
    return this.#response.statusCode ?? 0
  }

  get headers(): IncomingMessage['headers'] {
    return this.#response.headers
  }

  /** Until it has read so many bytes. @throws when its body was cut before */
  async until(bytes: number): Promise<void> {
    await expect.poll(() => this.bytes >= bytes || this.#failure, PATIENCE).toBeTruthy()
    if (this.bytes < bytes) throw this.#failure
  }

  /** Reads on, to the end. */
  goOn(): void {
    this.#limit = Number.POSITIVE_INFINITY
    this.#response.resume()
  }

  /** Closes its connection, as a client that was interrupted. */
  leave(): void {
    this.#response.destroy()
  }

  async #read(): Promise<{ digest: string; bytes: number }> {
    const hash = createHash('sha256')
    this.#response.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length
      hash.update(chunk)
      if (this.bytes >= this.#limit) this.#response.pause()
    })
    await new Promise((resolve) => this.#response.on('error', () => {}).once('close', resolve))
    if (!this.#response.complete) throw new Error(`the body was cut after ${this.bytes} bytes`)
    return { digest: `sha256:${hash.digest('hex')}`, bytes: this.bytes }
  }
}
