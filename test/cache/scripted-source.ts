import type { Beside, BlobBytes, BlobSource } from '../../src/cache/blob-source.js'

/** What one stream does: gives these bytes from the offset it is asked for, then ends or breaks. */
export interface Stream {
  content: Buffer
  /** Told to whoever asks; undefined: no length. */
  size?: number | undefined
  /** Breaks after this many bytes of the stream. */
  breakAfter?: number
  chunk?: number
  upstream?: string
  /** Awaited before each chunk, so that a test decides when bytes arrive. */
  gate?: (offset: number) => Promise<void> | void
  /** Awaited after the last chunk, before the stream ends. */
  endGate?: Promise<void>
}

/** A source that plays one stream after the other and remembers what was asked of it. */
export class ScriptedSource implements BlobSource {
  readonly asked: number[] = []
  readonly failures: unknown[] = []
  lies = 0
  doubts = 0
  closed = 0
  readonly #streams: Stream[]

  constructor(...streams: Stream[]) {
    this.#streams = streams
  }

  async next(from: number, _to?: number, signal?: AbortSignal): Promise<BlobBytes> {
    signal?.throwIfAborted()
    this.asked.push(from)
    const stream = this.#streams.shift()
    if (!stream) throw new Error('no upstream is left')
    const size = 'size' in stream ? stream.size : stream.content.length
    return {
      body: play(stream, from),
      size,
      upstream: stream.upstream ?? 'scripted',
      toEnd: true,
      destroy() {},
      failed: (error) => this.failures.push(error),
    }
  }

  usualMs(): number {
    return 0
  }

  spare(): undefined {}

  outpaced(): void {}

  async beside(_wanted: Beside): Promise<undefined> {
    return undefined
  }

  doubt(): void {
    this.doubts++
  }

  lied(): void {
    this.lies++
  }

  close(): void {
    this.closed++
  }
}

async function* play(
  { content, breakAfter = Number.POSITIVE_INFINITY, chunk = 16_384, gate, endGate }: Stream,
  from: number,
): AsyncGenerator<Buffer> {
  for (let at = from; at < content.length; at += chunk) {
    await gate?.(at)
    const sent = at - from
    if (sent >= breakAfter) throw new Error('cut')
    yield content.subarray(at, Math.min(at + chunk, from + breakAfter))
  }
  await endGate
}
