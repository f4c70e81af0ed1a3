import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type AccessPolicy, notChecked } from '../auth/access-policy.js'
import type { Identity, Login } from '../auth/login.js'
import { actionsAsked, CATALOG, type Grant, isCatalog, parseScopes } from '../auth/scope.js'
import { OciError } from '../oci/errors.js'
import { isRepository } from '../oci/reference.js'
import type { Resolver } from '../routing/content-source.js'
import { originOf } from './subject.js'
import { readBody } from './v2/body.js'

const FORM_LIMIT = 64 * 1024

export interface TokenServices {
  resolver: Resolver
  policy: AccessPolicy
  /** Undefined: nobody can sign in. */
  login?: Login | undefined
}

/**
 * The token service (Docker token specification; POST as its OAuth 2 variant). A token is good for what of the scopes the
 * policy allows; without a name it is nobody's. Refresh tokens are not given out: there would be something to take back
 * when a password changes, and clients that ask for one (`offline_token`) do without.
 */
export function registerToken(app: FastifyInstance, services: TokenServices): void {
  app.get('/token', async (request, reply) => {
    const scopes = parseScopes(parametersOf(request).getAll('scope'))
    const { authorization } = request.headers
    return answer(request, reply, services, scopes, (login, spare) =>
      login.identify(authorization, originOf(request), spare),
    )
  })

  app.post('/token', async (request, reply) => {
    const form = new URLSearchParams((await readBody(request, FORM_LIMIT)).toString('utf8'))
    const grantType = form.get('grant_type')
    if (grantType !== 'password') {
      const message = 'grant_type must be password: no refresh tokens are given out here'
      throw new OciError('UNSUPPORTED', message, { status: 400, headers: { 'cache-control': 'no-store' } })
    }
    const account = { name: form.get('username') ?? '', password: form.get('password') ?? '' }
    return answer(request, reply, services, parseScopes(form.getAll('scope')), (login, spare) =>
      login.signIn(account, originOf(request), spare),
    )
  })
}

function parametersOf({ raw }: FastifyRequest): URLSearchParams {
  const mark = raw.url?.indexOf('?') ?? -1
  return new URLSearchParams(mark < 0 ? '' : raw.url!.slice(mark + 1))
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  services: TokenServices,
  scopes: Grant[],
  identify: (login: Login, spare: boolean) => Promise<Identity>,
): Promise<object> {
  const { login, policy } = services
  if (!login || !policy.login)
    throw new OciError('UNSUPPORTED', 'there are no users here: auth.htpasswd is not set', { status: 404 })
  const open = scopes.length > 0 && scopes.every((scope) => everybodyMay(scope, services))
  const identity = await identify(login, open)
  const user = userOf(identity, open)
  request.facts.user = user
  const { token, expiresInSeconds, issuedAt } = await login.issue({ user, grants: grant(scopes, user, services) })
  reply.header('cache-control', 'no-store')
  return {
    ...{ token, access_token: token, token_type: 'Bearer' },
    ...{ expires_in: expiresInSeconds, issued_at: issuedAt.toISOString() },
  }
}

/**
 * Credentials that are not ours are no reason to refuse what everybody may have: dockerd brings those of Docker Hub. A
 * login asks for no scope, and is told that they are wrong.
 */
function userOf({ user, credential }: Identity, open: boolean): string | undefined {
  if (credential?.kind === 'password') return user
  if (!credential || open) return undefined
  if (credential.kind === 'throttled') throw notChecked(credential)
  throw new OciError('UNAUTHORIZED', 'wrong user name or password', {
    headers: { 'www-authenticate': 'Basic realm="entrepot", charset="UTF-8"', 'cache-control': 'no-store' },
  })
}

function everybodyMay(scope: Grant, services: TokenServices): boolean {
  const asked = isCatalog(scope) ? scope.actions : actionsAsked(scope)
  return asked.length > 0 && granted(scope, undefined, services).length === asked.length
}

function grant(scopes: Grant[], user: string | undefined, services: TokenServices): Grant[] {
  return scopes
    .map((scope) => ({ type: scope.type, name: scope.name, actions: granted(scope, user, services) }))
    .filter(({ actions }) => actions.length > 0)
}

/** The actions of what is asked that the policy allows. */
function granted(scope: Grant, user: string | undefined, { policy, resolver }: TokenServices): readonly string[] {
  const subject = { loopback: false, user }
  if (isCatalog(scope)) return policy.mayList(subject) ? CATALOG.actions : []
  const { type, name } = scope
  const repository = type === 'repository' && isRepository(name) ? resolver.nameOf(name) : undefined
  if (repository === undefined) return []
  return actionsAsked(scope).filter((action) => policy.may(subject, action, repository))
}
