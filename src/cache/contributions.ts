import { createHash } from 'node:crypto'
import type { Readable } from './running-digest.js'

/** Bytes that one upstream gave, by what they were. */
export interface Testimony {
  upstream: string
  from: number
  to: number
  hash: string
}

const READ_BYTES = 1024 * 1024

/** Who gave which bytes of a blob. */
export class Contributions {
  #spans: { upstream: string; from: number; to: number }[] = []

  get upstreams(): string[] {
    return [...new Set(this.#spans.map(({ upstream }) => upstream))]
  }

  add(upstream: string, from: number, length: number): void {
    const before = this.#spans.findLast((span) => span.upstream === upstream && span.to === from)
    if (before) before.to += length
    else this.#spans.push({ upstream, from, to: from + length })
  }

  clear(): void {
    this.#spans = []
  }

  /** What each gave, to be held against the truth when that is known. @throws when the bytes cannot be read any more */
  async testimonies(bytes: Readable): Promise<Testimony[]> {
    const testimonies: Testimony[] = []
    for (const { upstream, from, to } of this.#spans)
      testimonies.push({ upstream, from, to, hash: await hashOf(bytes, from, to) })
    return testimonies
  }
}

/** Those whose bytes were not these, or lay beyond their end. */
export async function liarsAmong(testimonies: readonly Testimony[], truth: Readable): Promise<string[]> {
  const liars = new Set<string>()
  for (const { upstream, from, to, hash } of testimonies)
    if (truth.readableTo(from) < to || (await hashOf(truth, from, to)) !== hash) liars.add(upstream)
  return [...liars]
}

async function hashOf(bytes: Readable, from: number, to: number): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, to - from))
  for (let at = from; at < to; ) {
    const count = await bytes.read(buffer.subarray(0, Math.min(buffer.length, to - at)), at)
    if (count === 0) throw new Error(`no bytes at ${at}`)
    hash.update(buffer.subarray(0, count))
    at += count
  }
  return hash.digest('hex')
}
