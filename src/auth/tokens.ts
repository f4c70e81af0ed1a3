import { createPublicKey, type KeyObject, randomUUID } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { LRUCache } from 'lru-cache'
import type { Grant } from './scope.js'

/** What the service calls itself in challenges and tokens. */
export const SERVICE = 'entrepot'
const LIFETIME_S = 300
/** A clock may be set a little while a token is out. */
const SKEW_S = 30
/** Characters of tokens that are remembered, and how long one that is of no use is. */
const REMEMBERED_SIZE = 16 * 1024 * 1024
const REMEMBER_USELESS_MS = 60_000
/** Characters of what a token is good for, as JSON: a request's head, with the token in base64, is of 16 KiB at most (Node). */
const GRANTS_LIMIT = 8 * 1024
/** None of ours is longer. */
const TOKEN_LIMIT = 16 * 1024

/** What a token says. */
export interface TokenContent {
  /** Undefined: nobody in particular. */
  user: string | undefined
  grants: readonly Grant[]
}

/** A token on its way to a client. */
export interface IssuedToken {
  token: string
  expiresInSeconds: number
  issuedAt: Date
}

/** Signs tokens and checks them; what was found of one is remembered. */
export class Tokens {
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject
  readonly #now: () => number
  /** Without content what is of no use here, as the Hub's tokens are. */
  readonly #checked = new LRUCache<string, { content: TokenContent | undefined; until: number }>({
    maxSize: REMEMBERED_SIZE,
    sizeCalculation: (_checked, token) => token.length + 200,
  })

  constructor({ key, now }: { key: KeyObject; now: () => number }) {
    this.#privateKey = key
    this.#publicKey = createPublicKey(key)
    this.#now = now
  }

  /** Grants that make a token too long to be sent are left out: a client asks again for what it did not get. */
  async issue({ user, grants }: TokenContent): Promise<IssuedToken> {
    const issuedAt = Math.floor(this.#now() / 1000)
    const token = await new SignJWT({ access: fitting(grants) })
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
      .setIssuer(SERVICE)
      .setAudience(SERVICE)
      .setSubject(user ?? '')
      .setIssuedAt(issuedAt)
      .setNotBefore(issuedAt)
      .setExpirationTime(issuedAt + LIFETIME_S)
      .setJti(randomUUID())
      .sign(this.#privateKey)
    return { token, expiresInSeconds: LIFETIME_S, issuedAt: new Date(issuedAt * 1000) }
  }

  /** @returns `undefined` for one that was not made here, or holds no more */
  async check(token: string): Promise<TokenContent | undefined> {
    const known = this.#checked.get(token)
    if (known && this.#now() < known.until) return known.content
    if (known?.content || token.length > TOKEN_LIMIT) return undefined
    const payload = await this.#verify(token)
    const content = payload && { user: payload.sub || undefined, grants: payload.access as Grant[] }
    const until = payload ? (payload.exp! + SKEW_S) * 1000 : this.#now() + REMEMBER_USELESS_MS
    this.#checked.set(token, { content, until })
    return content
  }

  async #verify(token: string): Promise<JWTPayload | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#publicKey, {
        algorithms: ['ES256'],
        issuer: SERVICE,
        audience: SERVICE,
        clockTolerance: SKEW_S,
        currentDate: new Date(this.#now()),
        requiredClaims: ['iat', 'nbf', 'exp', 'jti', 'sub', 'access'],
      })
      return payload
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined
      throw error
    }
  }
}

function fitting(grants: readonly Grant[]): Grant[] {
  let left = GRANTS_LIMIT
  return grants.filter((grant) => {
    const size = JSON.stringify(grant).length + 1
    if (size > left) return false
    left -= size
    return true
  })
}
