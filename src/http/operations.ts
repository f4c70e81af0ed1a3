import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type AccessPolicy, NOBODY } from '../auth/access-policy.js'
import type { Login } from '../auth/login.js'
import { OciError } from '../oci/errors.js'
import { identify } from './subject.js'

const WINDOWS_MS = new Map([
  ['1h', 3_600_000],
  ['24h', 86_400_000],
  ['7d', 604_800_000],
])

export interface OperationServices {
  /** The statistics document; over the last `windowMs`, or since they began, with the names of repositories that are shown. */
  stats: (windowMs: number | undefined, isShown: (repository: string) => boolean) => object
  /** Why requests cannot be answered now; `undefined` when they can. Never depends on an upstream. */
  unready: () => string | undefined
}

/** Who may know what, as configured now. */
export interface OperationAccess {
  policy: AccessPolicy
  /** Left out: nobody has a name. */
  login?: Login | undefined
}

/** What the person who runs the mirror asks: alive, ready, and what it saves. All of it is answered to everybody. */
export function registerOperations(
  app: FastifyInstance,
  { stats, unready }: OperationServices,
  access: OperationAccess,
): void {
  app.get('/healthz', async () => ({ status: 'ok' }))

  app.get('/readyz', async (_request, reply) => {
    const reason = unready()
    return reason === undefined ? { status: 'ready' } : reply.code(503).send({ status: 'not ready', reason })
  })

  app.get<{ Querystring: { window?: string } }>('/stats', async (request) =>
    stats(parseWindow(request.query.window), await shownTo(request, access)),
  )
}

/** The names of repositories that everybody may pull; of all for whom the admin API answers. */
async function shownTo(
  request: FastifyRequest,
  { policy, login }: OperationAccess,
): Promise<(repository: string) => boolean> {
  if (policy.isAdmin(await identify(request, login, false))) return () => true
  return (repository) => policy.may(NOBODY, 'pull', repository)
}

/** @throws {OciError} 400 for another window than the three */
function parseWindow(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const windowMs = WINDOWS_MS.get(text)
  if (windowMs !== undefined) return windowMs
  throw new OciError('UNSUPPORTED', `window is one of ${[...WINDOWS_MS.keys()].join(', ')}`, { status: 400 })
}
