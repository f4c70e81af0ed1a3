import type { Readable } from 'node:stream'

/**
 * The chunks of a stream, which is left as it is when the reader stops early: a request's body, unlike a file, has a
 * connection behind it that must still carry an answer.
 *
 * @param toError what to throw when the stream itself fails; what the reader throws stays as it is
 */
export async function* chunksOf(stream: Readable, toError: (cause: unknown) => Error): AsyncGenerator<Buffer> {
  try {
    yield* stream.iterator({ destroyOnReturn: false })
  } catch (cause) {
    throw toError(cause)
  }
}
