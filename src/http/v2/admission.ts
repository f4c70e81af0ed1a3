import type { FastifyRequest } from 'fastify'
import { type AccessPolicy, type Need, NOBODY, notChecked, type Subject } from '../../auth/access-policy.js'
import type { Action } from '../../auth/access-rules.js'
import type { Login } from '../../auth/login.js'
import { CATALOG, type Grant } from '../../auth/scope.js'
import type { OciError } from '../../oci/errors.js'
import { isRepository } from '../../oci/reference.js'
import { canonicalName, type Resolver, type Route } from '../../routing/content-source.js'
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

/** What the mount of a blob needs of the repository that it is in; `undefined` for no mount, and for what is no name here. */
export function mountNeedOf(
  { kind }: RepositoryEndpoint,
  query: URLSearchParams,
  resolver: Resolver,
): Need | undefined {
  const from = kind === 'uploads' ? query.get('from') : null
  const repository = from !== null && isRepository(from) ? resolver.nameOf(from) : undefined
  return repository && { action: 'pull', repository, names: [from!] }
}

/** Giving an upload up is a part of pushing. */
function actionOf(kind: Kind, method: Method): Action {
  if (method === 'GET' || method === 'HEAD') return kind === 'upload' ? 'push' : 'pull'
  return method === 'DELETE' && kind !== 'upload' ? 'delete' : 'push'
}

/**
 * Lets a request to a repository pass.
 *
 * @param mount a token must be good for it too, if the person may have it: the client would upload what can be mounted
 * @throws {OciError} UNAUTHORIZED with a challenge, DENIED, TOOMANYREQUESTS
 */
export async function demand(
  request: FastifyRequest,
  services: AccessServices,
  { need, mount }: { need: Need; mount?: Need | undefined },
): Promise<Access> {
  const { policy, login } = services
  const subject = await identify(request, login, policy.may(NOBODY, need.action, need.repository))
  const access = new Access({ policy, subject })
  const judged = policy.judge(subject, need)
  const verdict = judged === 'allow' && mount && isLacking(access, mount) ? 'insufficient' : judged
  if (verdict === 'allow') return access
  if (verdict === 'deny') throw policy.denial(subject, need)
  const scopes = [need, ...(mount ? [mount] : [])].map(scopeOf)
  throw refusal(request, { ...services, subject, scopes, error: ERRORS[verdict] })
}

function isLacking(access: Access, { repository, names: [name = repository] }: Need): boolean {
  return access.may('pull', repository) && !access.mayTake(repository, name)
}

/** Lets the catalog be listed, of which everybody sees what it may pull. @throws {OciError} as `demand` */
export async function demandCatalog(request: FastifyRequest, services: AccessServices): Promise<Access> {
  const { policy, login } = services
  const subject = await identify(request, login, policy.mayList(NOBODY))
  const verdict = policy.judgeListing(subject)
  if (verdict === 'allow') return new Access({ policy, subject })
  if (verdict === 'deny') throw policy.denial(subject, { action: 'pull', repository: 'the catalog', names: [] })
  throw refusal(request, { ...services, subject, scopes: [CATALOG], error: ERRORS[verdict] })
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
function scopeOf({ action, repository, names: [name = repository] }: Need): Grant {
  return { type: 'repository', name, actions: action === 'push' ? ['pull', 'push'] : [action] }
}

interface Refused extends Pick<AccessServices, 'realm'> {
  subject: Subject
  scopes?: readonly Grant[]
  error: ChallengeError
}

function refusal(request: FastifyRequest, { subject: { credential }, realm, scopes, error }: Refused): OciError {
  if (credential?.kind === 'throttled') return notChecked(credential)
  return challenge(request, { realm, scopes, error })
}
