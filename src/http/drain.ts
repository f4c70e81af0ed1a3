import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** Running requests have this long to end when the server stops: less than the 10 s of `docker stop`. */
const DRAIN_MS = 8_000

/** Ends idle connections at once and busy ones when they are done, or after `DRAIN_MS`. */
export async function drain(server: FastifyInstance): Promise<void> {
  const closed = server.close()
  const idle = setInterval(() => server.server.closeIdleConnections(), 50)
  const limit = new AbortController()
  try {
    await Promise.race([closed, delay(DRAIN_MS, undefined, { signal: limit.signal })])
    server.server.closeAllConnections()
    await closed
  } finally {
    limit.abort()
    clearInterval(idle)
  }
}
