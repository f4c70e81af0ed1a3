import { finished, type Readable } from 'node:stream'

export interface Pouring {
  /** What to throw when the stream itself fails; what `take` throws stays as it is. */
  toError: (cause: unknown) => Error
  /** Gives up when it aborts, with its reason. */
  signal: AbortSignal
}

/**
 * Hands over the chunks of a stream as they come; resolves at its end. Given up midway, the stream is left paused: a
 * request's body, unlike a file, has a connection behind it that must still carry an answer.
 *
 * @param take returns what the next chunk has to wait for; nothing where it may come at once
 */
export function pour(
  stream: Readable,
  take: (chunk: Buffer) => Promise<void> | undefined,
  { toError, signal }: Pouring,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      stream.off('data', onData)
      signal.removeEventListener('abort', giveUp)
      settle()
    }
    const fail = (error: unknown) => {
      stream.pause()
      end(() => reject(error))
    }
    const giveUp = () => fail(signal.reason)
    const goOn = () => {
      if (stream.listeners('data').includes(onData)) stream.resume()
    }
    const onData = (chunk: Buffer) => {
      try {
        const wait = take(chunk)
        if (!wait) return
        stream.pause()
        wait.then(goOn, fail)
      } catch (error) {
        fail(error)
      }
    }
    if (signal.aborted) return giveUp()
    signal.addEventListener('abort', giveUp)
    // Its listeners stay: a failure after the end of this is nobody's.
    finished(stream, { writable: false }, (cause) => {
      if (cause) end(() => reject(toError(cause)))
      else end(resolve)
    })
    stream.on('data', onData)
  })
}
