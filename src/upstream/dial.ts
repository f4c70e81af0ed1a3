import { connect, type Socket } from 'node:net'

export interface Address {
  address: string
  /** 4 or 6 */
  family: number
}

/** After so long without a connection the next address is tried beside those under way (RFC 8305, section 5). */
const ATTEMPT_DELAY_MS = 250

/**
 * Connects to the first address that accepts, so that a family that leads nowhere costs a quarter of a second. An attempt
 * under way goes on beside later ones, unlike with Node's autoSelectFamily, which gives up all that are slower than that.
 *
 * @throws what the attempt said, or an AggregateError of what all said; the signal's reason
 */
export function dialFirst(addresses: readonly Address[], port: number, signal: AbortSignal): Promise<Socket> {
  const order = interleaved(addresses)
  return new Promise((resolve, reject) => {
    const attempts = new Set<Socket>()
    const failures: Error[] = []
    let timer: NodeJS.Timeout | undefined
    const settle = (end: () => void) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      for (const socket of attempts) socket.destroy()
      end()
    }
    const abort = () => settle(() => reject(signal.reason))
    const attempt = () => {
      clearTimeout(timer)
      const next = order.shift()
      if (!next) {
        if (attempts.size === 0)
          settle(() => reject(failures.length === 1 ? failures[0] : new AggregateError(failures)))
        return
      }
      const socket = open(next, port)
      attempts.add(socket)
      const failed = (error: Error) => {
        attempts.delete(socket)
        failures.push(error)
        attempt()
      }
      socket.once('error', failed).once('connect', () => {
        attempts.delete(socket)
        socket.off('error', failed)
        settle(() => resolve(socket))
      })
      if (order.length > 0) timer = setTimeout(attempt, ATTEMPT_DELAY_MS)
    }
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    attempt()
  })
}

function open({ address, family }: Address, port: number): Socket {
  // the size of a read, as undici has it; the types do not know that a socket is a stream with options
  const reading = { highWaterMark: 64 * 1024 }
  return connect({
    ...reading,
    host: address,
    family,
    port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  })
}

/** The families in turn, beginning with that of the first address (RFC 8305, section 4). */
export function interleaved(addresses: readonly Address[]): Address[] {
  const first = addresses.filter(({ family }) => family === addresses[0]?.family)
  const second = addresses.filter(({ family }) => family !== addresses[0]?.family)
  return Array.from({ length: Math.max(first.length, second.length) }).flatMap((_, index) =>
    [first[index], second[index]].filter((each) => each !== undefined),
  )
}
