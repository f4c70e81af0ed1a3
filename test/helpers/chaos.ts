import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import type { BuiltInUpstream, Fault } from './upstream.js'

/** Random numbers that are the same for the same seed (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** At least 0, less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number, at least 0 and less than `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  of<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(this.below(2 ** 32), at)
    for (let at = length - (length % 4); at < length; at++) bytes[at] = this.below(256)
    return bytes
  }
}

/** Remembers which blobs were lied about, and when. */
export class Lies {
  readonly #latest = new Map<string, number>()

  note(digest: string): void {
    this.#latest.set(digest, Date.now())
  }

  /** Whether somebody has lied about it so lately that a download of that time may still be read. */
  about(digest: string): boolean {
    return Date.now() - (this.#latest.get(digest) ?? 0) < 10_000
  }

  get count(): number {
    return this.#latest.size
  }
}

/** Makes an upstream fail in two of five requests; it lies about blobs that are not `steady` alone. */
export function unsettle(upstream: BuiltInUpstream, random: Random, lies: Lies, steady: ReadonlySet<string>): void {
  upstream.fault = ({ path }) => {
    if (random.next() < 0.6) return undefined
    const [, kind, digest = ''] = /\/(manifests|blobs)\/(.+)$/.exec(path) ?? []
    const size = upstream.blob(digest)?.length ?? 0
    const fault = random.of(faults(random, size))
    if (fault.kind !== 'flip' || kind === 'manifests') return fault
    if (steady.has(digest)) return undefined
    lies.note(digest)
    return fault
  }
}

function faults(random: Random, size: number): Fault[] {
  const status = (code: number): Fault => ({ kind: 'status', status: code })
  return [
    ...[status(500), status(403), status(404), { kind: 'html' } as const, { kind: 'reset' } as const],
    ...[{ kind: 'ignore-range' } as const, { kind: 'chunked' } as const, { kind: 'delay', ms: 200 } as const],
    ...Array.from({ length: 3 }, (): Fault => ({ kind: 'cut', after: random.below(size + 1) })),
    { kind: 'stall', after: random.below(size + 1) },
    { kind: 'flip', at: random.below(Math.max(size, 1)) },
  ]
}

/** What is asked for, and what must come. */
export interface Content {
  blobs: { digest: Digest; bytes: Buffer }[]
  manifests: { tag: string; digest: Digest; bytes: Buffer }[]
  /** Nobody lies about these, so that a client that leaves is all that can cut them. */
  steady: ReadonlySet<string>
}

export type Kind = 'hit' | 'join' | 'miss' | 'stale' | 'error'

interface Wanted {
  path: string
  digest: Digest
  status: 200 | 206
  headers?: Record<string, string>
  /** The body by its head. */
  body: (headers: Record<string, unknown>) => Buffer
}

const REPOSITORY = 'library/app'

/** One client that does random things and looks closely at what it gets. */
export class ChaosClient {
  readonly kinds: Record<Kind, number> = { hit: 0, join: 0, miss: 0, stale: 0, error: 0 }
  /** What must not be. */
  readonly faults: string[] = []
  /** Reset after a lie; right at the next try. */
  cut = 0
  /** Ranges given out before the lie in them was found: the digest of a range cannot be known. */
  unchecked = 0
  readonly #agent = new Agent({ connections: 1, keepAliveTimeout: 10_000 })

  constructor(
    private readonly url: string,
    private readonly random: Random,
    private readonly content: Content,
    private readonly lies: Lies,
  ) {}

  async run(until: number): Promise<void> {
    while (Date.now() < until) await this.#act()
    await this.#agent.destroy()
  }

  get total(): number {
    return Object.values(this.kinds).reduce((sum, count) => sum + count, 0)
  }

  async #act(): Promise<void> {
    const dice = this.random.next()
    if (dice < 0.1) return this.#head()
    if (dice < 0.2) return this.#leave()
    if (dice < 0.25) return this.#beyond()
    await this.#whole(dice < 0.45 ? this.#manifest() : dice < 0.7 ? this.#ranges() : this.#blob(), dice > 0.95)
  }

  async #whole(wanted: Wanted, slowly: boolean, again = false): Promise<void> {
    try {
      const { statusCode, headers, body } = await this.#get(wanted)
      const got = await this.#read(body, slowly)
      this.#count(statusCode, headers)
      // Before its size is known the whole is the answer to any range, and to ranges that overlap it always is.
      const whole = wanted.status === 206 && statusCode === 200
      if (statusCode !== wanted.status && !whole)
        return this.#blame(wanted, `${statusCode} ${got.toString().slice(0, 300)}`)
      if (digestOf(got) === (whole ? wanted.digest : digestOf(wanted.body(headers)))) return
      if (statusCode === 206 && headers['x-cache'] !== 'hit' && this.lies.about(wanted.digest)) this.unchecked++
      else this.#blame(wanted, `wrong bytes, ${headers['x-cache']}`)
    } catch (error) {
      this.kinds.error++
      if (again || !this.lies.about(wanted.digest)) return this.#blame(wanted, (error as Error).message)
      this.cut++
      await this.#whole(wanted, false, true)
    }
  }

  async #head(): Promise<void> {
    const wanted = this.random.next() < 0.5 ? this.#manifest() : this.#blob()
    const { statusCode, headers, body } = await this.#get(wanted, 'HEAD')
    await body.dump()
    if (statusCode !== 200 || Number(headers['content-length']) !== wanted.body({}).length)
      this.#blame(wanted, `HEAD ${statusCode} ${headers['content-length']}`)
  }

  async #leave(): Promise<void> {
    const wanted = this.#blob(this.content.blobs.filter(({ digest }) => this.content.steady.has(digest)))
    const { statusCode, headers, body } = await this.#get(wanted)
    this.#count(statusCode, headers)
    body.on('error', () => {})
    for await (const _chunk of body) if (this.random.next() < 0.3) break
    body.destroy()
  }

  /** 416 in the body of the specification. */
  async #beyond(): Promise<void> {
    const steady = this.content.blobs.filter(({ digest }) => this.content.steady.has(digest))
    const blob = this.#blob(steady)
    const { digest } = blob
    const wanted = { ...blob, headers: { range: `bytes=${blob.body({}).length}-` } }
    const { statusCode, headers, body } = await this.#get(wanted)
    const got = await this.#read(body, false)
    this.#count(statusCode, headers)
    // As long as its size is not known.
    if (statusCode === 200 && digestOf(got) === digest) return
    if (statusCode !== 416 || !got.toString().includes('"errors":[{"code":"SIZE_INVALID"'))
      this.#blame(wanted, `${statusCode}`)
  }

  #get({ path, headers = {} }: Wanted, method: 'GET' | 'HEAD' = 'GET') {
    return request(`${this.url}/v2/${REPOSITORY}/${path}`, { method, headers, dispatcher: this.#agent })
  }

  async #read(body: AsyncIterable<Buffer>, slowly: boolean): Promise<Buffer> {
    const chunks: Buffer[] = []
    for await (const chunk of body) {
      chunks.push(chunk)
      if (slowly) await sleep(this.random.below(20))
    }
    return Buffer.concat(chunks)
  }

  #count(status: number, headers: Record<string, unknown>): void {
    this.kinds[status < 400 ? (headers['x-cache'] as Kind) : 'error']++
  }

  #blame({ path, headers }: Wanted, what: string): void {
    this.faults.push(`${path} ${headers?.range ?? ''}: ${what}`)
  }

  #manifest(): Wanted {
    const { tag, digest, bytes } = this.random.of(this.content.manifests)
    const reference = this.random.next() < 0.5 ? tag : digest
    return { path: `manifests/${reference}`, digest, status: 200, body: () => bytes }
  }

  #blob(among = this.content.blobs): Wanted {
    const { digest, bytes } = this.random.of(among)
    return { path: `blobs/${digest}`, digest, status: 200, body: () => bytes }
  }

  #ranges(): Wanted {
    const { digest, bytes } = this.random.of(this.content.blobs.filter(({ bytes: { length } }) => length > 1000))
    const [first, second] = [this.random.below(bytes.length), this.random.below(bytes.length)]
    const [start, end] = [Math.min(first, second), Math.max(first, second)]
    const ranged = (range: string, ranges: [number, number][]): Wanted => ({
      path: `blobs/${digest}`,
      digest,
      status: 206,
      headers: { range: `bytes=${range}` },
      body: (headers) => bodyOf(bytes, ranges, String(headers['content-type'])),
    })
    const dice = this.random.next()
    if (dice < 0.4) return ranged(`${start}-${end}`, [[start, end]])
    if (dice < 0.7) return ranged(`-${end + 1}`, [[bytes.length - end - 1, bytes.length - 1]])
    return ranged(`${end}-, 0-9`, [
      [end, bytes.length - 1],
      [0, 9],
    ])
  }
}

/** The body that answers these ranges (RFC 9110, 14.6 for several). */
function bodyOf(bytes: Buffer, ranges: [number, number][], contentType: string): Buffer {
  const boundary = /boundary=(.+)$/.exec(contentType)?.[1]
  if (boundary === undefined) return Buffer.concat(ranges.map(([start, end]) => bytes.subarray(start, end + 1)))
  const parts = ranges.map(([start, end], at) => [
    Buffer.from(
      `${at > 0 ? '\r\n' : ''}--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ${start}-${end}/${bytes.length}\r\n\r\n`,
    ),
    bytes.subarray(start, end + 1),
  ])
  return Buffer.concat([...parts.flat(), Buffer.from(`\r\n--${boundary}--\r\n`)])
}
