import type { FastifyRequest } from 'fastify'
import { type Grant, printScope } from '../auth/scope.js'
import { SERVICE } from '../auth/tokens.js'
import { OciError } from '../oci/errors.js'
import { realmOf } from './realm.js'

/** Why a credential was not enough (RFC 6750, 3.1); none where none was sent. */
export type ChallengeError = 'invalid_token' | 'insufficient_scope' | undefined

export interface ChallengeDeps {
  /** From `auth.realm`. */
  realm: string | undefined
  /** What the client needs a token for; none: for nothing but being known. */
  scopes?: readonly Grant[] | undefined
  error?: ChallengeError
}

/** The 401 that tells a client where to get a token, and for what (Docker token specification). */
export function challenge(request: FastifyRequest, { realm, scopes = [], error }: ChallengeDeps): OciError {
  const parameters = [
    ['realm', realmOf(request, realm)],
    ['service', SERVICE],
    ...(scopes.length > 0 ? [['scope', scopes.map(printScope).join(' ')]] : []),
    ...(error ? [['error', error]] : []),
  ]
  const message = error === 'insufficient_scope' ? 'the token is not good for this' : 'authentication required'
  return new OciError('UNAUTHORIZED', message, {
    headers: {
      'www-authenticate': `Bearer ${parameters.map(([key, value]) => `${key}="${value}"`).join(',')}`,
      // It names the host that was asked for, which is nobody else's.
      'cache-control': 'no-store',
    },
  })
}
