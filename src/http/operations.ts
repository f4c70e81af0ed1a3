import type { FastifyInstance } from 'fastify'
import { OciError } from '../oci/errors.js'

const WINDOWS_MS = new Map([
  ['1h', 3_600_000],
  ['24h', 86_400_000],
  ['7d', 604_800_000],
])

export interface OperationServices {
  /** The statistics document; over the last `windowMs`, or since they began. */
  stats: (windowMs: number | undefined) => object
  /** Why requests cannot be answered now; `undefined` when they can. Never depends on an upstream. */
  unready: () => string | undefined
}

/** What the person who runs the mirror asks: alive, ready, and what it saves. */
export function registerOperations(app: FastifyInstance, { stats, unready }: OperationServices): void {
  app.get('/healthz', async () => ({ status: 'ok' }))

  app.get('/readyz', async (_request, reply) => {
    const reason = unready()
    return reason === undefined ? { status: 'ready' } : reply.code(503).send({ status: 'not ready', reason })
  })

  app.get<{ Querystring: { window?: string } }>('/stats', async (request) => stats(parseWindow(request.query.window)))
}

/** @throws {OciError} 400 for another window than the three */
function parseWindow(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const windowMs = WINDOWS_MS.get(text)
  if (windowMs !== undefined) return windowMs
  throw new OciError('UNSUPPORTED', `window is one of ${[...WINDOWS_MS.keys()].join(', ')}`, { status: 400 })
}
