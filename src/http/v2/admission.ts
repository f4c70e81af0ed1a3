import type { FastifyRequest } from 'fastify'
import { type AccessPolicy, type Need, NOBODY, type Subject, tooManyFailures } from '../../auth/access-policy.js'
import type { Action } from '../../auth/access-rules.js'
import type { Login } from '../../auth/login.js'
import { CATALOG, type Grant } from '../../auth/scope.js'
import type { OciError } from '../../oci/errors.js'
import { canonicalName, type Route } from '../../routing/content-source.js'
import { type ChallengeError, challenge } from '../challenge.js'
import { identify } from '../subject.js'
import { Access } from './access.js'
import type { Kind, Method, RepositoryEndpoint } from './handlers.js'

export interface AccessServices {
  policy: AccessPolicy
  /** Left out: nobody can sign in. */
  login?: Login | undefined
  /** Where tokens are to be had, if not at the address that the client uses. */
  realm?: string | undefined
}

/** What a request to a repository needs; a method that does not exist is refused later. */
export function needOf(endpoint: RepositoryEndpoint, method: Method, route: Route): Need {
  const repository = canonicalName(route)
  // With `ns` the name in the path is another registry's too, and a token for that is none for this.
  const names = route.kind === 'proxy' && route.namespaced ? [] : [endpoint.repository]
  return { action: actionOf(endpoint.kind, method), repository, names }
}

/** Giving an upload up is a part of pushing. */
function actionOf(kind: Kind, method: Method): Action {
  if (method === 'GET' || method === 'HEAD') return kind === 'upload' ? 'push' : 'pull'
  return method === 'DELETE' && kind !== 'upload' ? 'delete' : 'push'
}

/** Lets a request to a repository pass. @throws {OciError} UNAUTHORIZED with a challenge, DENIED, TOOMANYREQUESTS */
export async function demand(request: FastifyRequest, services: AccessServices, need: Need): Promise<Access> {
  const { policy, login } = services
  const subject = await identify(request, login, policy.may(NOBODY, need.action, need.repository))
  const verdict = policy.judge(subject, need)
  if (verdict === 'allow') return new Access({ policy, subject })
  if (verdict === 'deny') throw policy.denial(subject, need)
  const scope = { type: 'repository', name: need.names[0] ?? need.repository, actions: scopeOf(need.action) }
  throw refusal(request, { ...services, subject, scope, error: ERRORS[verdict] })
}

/** Lets the catalog be listed, of which everybody sees what it may pull. @throws {OciError} as `demand` */
export async function demandCatalog(request: FastifyRequest, services: AccessServices): Promise<Access> {
  const { policy, login } = services
  const subject = await identify(request, login, policy.mayList(NOBODY))
  const verdict = policy.judgeListing(subject)
  if (verdict === 'allow') return new Access({ policy, subject })
  if (verdict === 'deny') throw policy.denial(subject, { action: 'pull', repository: 'the catalog', names: [] })
  throw refusal(request, { ...services, subject, scope: CATALOG, error: ERRORS[verdict] })
}

/** end-1 is how clients find out whether to log in, and whether a password is right. @throws {OciError} as `demand` */
export async function demandIdentity(request: FastifyRequest, services: AccessServices): Promise<void> {
  const subject = await identify(request, services.login, false)
  const kind = subject.credential?.kind
  if (!services.policy.login || kind === 'token' || kind === 'password') return
  throw refusal(request, { ...services, subject, error: kind === 'foreign' ? 'invalid_token' : undefined })
}

const ERRORS = { challenge: undefined, foreign: 'invalid_token', insufficient: 'insufficient_scope' } as const

/** Whoever pushes looks first what is there. */
function scopeOf(action: Action): Action[] {
  return action === 'push' ? ['pull', 'push'] : [action]
}

interface Refused extends Pick<AccessServices, 'realm'> {
  subject: Subject
  scope?: Grant
  error: ChallengeError
}

function refusal(request: FastifyRequest, { subject: { credential }, realm, scope, error }: Refused): OciError {
  if (credential?.kind === 'throttled') return tooManyFailures(credential.retryAfterSeconds)
  return challenge(request, { realm, scope, error })
}
