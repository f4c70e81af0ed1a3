import { randomUUID } from 'node:crypto'

/** How a built-in upstream wants to be asked. */
export type UpstreamAuth =
  | { kind: 'none' }
  | {
      kind: 'bearer'
      /** seconds; absent: the answer does not say, and the token never expires */
      expiresInS?: number
      /** Wanted from whoever asks for a token; absent: anybody gets one. */
      username?: string
      password?: string
      /** The field the token comes in. */
      field?: 'token' | 'access_token'
      /** Left out of the challenge when false, as some registries do. */
      scope?: boolean
      /** Another place than the upstream's own `/token`. */
      realm?: string
    }
  | { kind: 'basic'; username: string; password: string }

interface IssuedToken {
  scope: string
  expiresAt: number
}

/** The token service of a built-in upstream, and the check of what requests carry. */
export class UpstreamGate {
  readonly #auth: UpstreamAuth
  readonly #issued = new Map<string, IssuedToken>()
  readonly #now: () => number
  /** Tokens that were asked for, whether given or not. */
  tokenRequests = 0

  constructor(auth: UpstreamAuth, now: () => number) {
    this.#auth = auth
    this.#now = now
  }

  /** Every token given so far is refused from now on. */
  revokeTokens(): void {
    this.#issued.clear()
  }

  /** @returns the WWW-Authenticate to refuse with, or undefined to let it pass */
  challenge(repository: string, authorization: string | undefined, origin: string): string | undefined {
    const auth = this.#auth
    if (auth.kind === 'none') return undefined
    if (auth.kind === 'basic') return authorization === basic(auth) ? undefined : 'Basic realm="built-in upstream"'
    const scope = `repository:${repository}:pull`
    const token = this.#issued.get(/^Bearer (.+)$/.exec(authorization ?? '')?.[1] ?? '')
    if (token && token.expiresAt > this.#now() && token.scope === scope) return undefined
    const challenge = `Bearer realm="${auth.realm ?? `${origin}/token`}",service="built-in"`
    return auth.scope === false ? challenge : `${challenge},scope="${scope}"`
  }

  /** @returns what `/token` answers */
  issue(query: URLSearchParams, authorization: string | undefined): { status: number; body: object } {
    const auth = this.#auth
    this.tokenRequests++
    if (auth.kind !== 'bearer') return { status: 404, body: {} }
    const { username, password = '', expiresInS, field = 'token' } = auth
    if (username !== undefined && authorization !== basic({ username, password })) return { status: 401, body: {} }
    const value = randomUUID()
    const expiresAt = expiresInS === undefined ? Number.POSITIVE_INFINITY : this.#now() + expiresInS * 1000
    this.#issued.set(value, { scope: query.get('scope') ?? '', expiresAt })
    return { status: 200, body: { [field]: value, ...(expiresInS !== undefined && { expires_in: expiresInS }) } }
  }
}

function basic({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
