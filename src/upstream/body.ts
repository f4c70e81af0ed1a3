import type { Readable } from 'node:stream'
import { Deadline } from '../lib/deadline.js'
import type { Bandwidth } from './bandwidth.js'
import type { Answer } from './connections.js'
import { UpstreamError } from './errors.js'
import type { Pace } from './pace.js'

export interface BodyOptions {
  upstream: string
  idleMs: number
  /** Bytes to drop at the beginning: what a server sent again although it was asked for the rest. */
  skip?: number
  /** Bytes expected after the skipped ones; undefined when it was not said. */
  length: number | undefined
  signal?: AbortSignal | undefined
  /** The cap that it shares with other bodies. */
  bandwidth?: Bandwidth | undefined
  /** Ends it when it comes too slowly. */
  pace?: Pace | undefined
  /** Translates a socket's error. */
  failure: (cause: unknown) => UpstreamError
  /** Told once, when the body ended, broke off or was left: all bytes that came, and how long they took. */
  ended?: ((bytes: number, durationMs: number) => void) | undefined
}

/**
 * An answer's body, with an idle limit on bytes arriving and a check of its length.
 * Leaving the iteration closes the connection.
 *
 * @throws {UpstreamError} `slow` when no byte comes for `idleMs` or the pace says so, `down` when it breaks off or ends early, `lying` when it is
 *   longer than announced; the signal's reason when it aborts
 */
export async function* readBody(
  { body }: { body: Readable },
  options: BodyOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { upstream, length, failure, signal } = options
  let skip = options.skip ?? 0
  let arrived = 0
  let given = 0
  let waiting = false
  const beganAt = performance.now()
  const idle = new Deadline(options.idleMs, () => {
    if (waiting) body.destroy(new UpstreamError('slow', `no byte for ${options.idleMs} ms`, { upstream }))
  })
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  try {
    for (;;) {
      waiting = true
      idle.refresh()
      const waitingSince = performance.now()
      const { value: chunk, done } = await chunks.next()
      waiting = false
      if (done) break
      arrived += chunk.length
      options.pace?.arrived(chunk.length, performance.now() - waitingSince)
      await options.bandwidth?.pay(chunk.length, signal)
      const rest = skip > 0 ? chunk.subarray(Math.min(skip, chunk.length)) : chunk
      skip -= chunk.length - rest.length
      given += rest.length
      if (length !== undefined && given > length)
        throw new UpstreamError('lying', 'the body is longer than announced', { upstream })
      if (rest.length > 0) yield rest
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw failure(error)
  } finally {
    idle.clear()
    if (!body.readableEnded) body.destroy()
    options.ended?.(arrived, performance.now() - beganAt)
  }
  if (skip > 0 || (length !== undefined && given < length)) {
    throw new UpstreamError('down', `the body ended after ${given} of ${length} bytes`, { upstream })
  }
}

/** A whole small body in memory. @throws {UpstreamError} `lying` past `limit`, and as `readBody` */
export async function readWhole(answer: Answer, limit: number, options: BodyOptions): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of readBody(answer, options)) {
    length += chunk.length
    if (length > limit)
      throw new UpstreamError('lying', `the body is longer than ${limit} bytes`, { upstream: options.upstream })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
