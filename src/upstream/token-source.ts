import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Dispatcher } from 'undici'
import { SingleFlight } from '../lib/single-flight.js'
import { forbiddenAddressIn } from './address-guard.js'
import { UpstreamError } from './errors.js'
import { parseRetryAfter } from './headers.js'

/** What a Bearer challenge asks for (distribution token specification, "How to authenticate"). */
export interface TokenRequest {
  realm: string
  service: string | undefined
  scope: string
}

export interface Credential {
  username: string
  password: string
}

export interface Token {
  value: string
  /** ms, when the request for it was sent */
  obtainedAt: number
  /** ms, after which it is fetched anew */
  expiresAt: number
}

/** The token service does not know the name or the password. */
export class LoginRefusedError extends UpstreamError {}

interface KeptToken {
  token: Token
  /** ms, from when on the next use has it renewed in the background */
  renewAt: number
}

export interface TokenSourceOptions {
  now: () => number
  /** for a whole exchange, milliseconds */
  timeoutMs: number
  /** The upstream's own way out; undefined: fetch's. */
  dispatcher?: Dispatcher | undefined
}

export interface TokenQuery {
  /** For the failures' `upstream`. */
  upstream: string
  /** Sent to the realm as Basic; whoever passes it has checked that the realm may have it. */
  credential?: Credential | undefined
  /** A token that was refused, so that it is not given again. */
  refused?: string | undefined
}

/** The lifetime of a token that does not say (token specification, `expires_in`). */
const DEFAULT_LIFETIME_S = 60
/** Longer lifetimes are believed up to here. */
const MAX_LIFETIME_S = 24 * 3600
const BODY_LIMIT = 256 * 1024
const CACHED_TOKENS = 1000
/** The part of a token's life after which it is renewed. */
const RENEWED_AFTER = 0.75
/** A renewal that failed is tried again no sooner than after this. */
const RENEWAL_PAUSE_MS = 5000

/**
 * Exchanges challenges for tokens; each is fetched once for all who wait, and kept until shortly before it expires. Who
 * uses one in the last quarter of its life gets it at once and has the next one fetched in the background.
 */
export class TokenSource {
  readonly #now: () => number
  readonly #timeoutMs: number
  readonly #dispatcher: Dispatcher | undefined
  readonly #flights = new SingleFlight<Token>()
  readonly #tokens: LRUCache<string, KeptToken>

  constructor({ now, timeoutMs, dispatcher }: TokenSourceOptions) {
    this.#now = now
    this.#timeoutMs = timeoutMs
    this.#dispatcher = dispatcher
    this.#tokens = new LRUCache({ max: CACHED_TOKENS })
  }

  /** @throws {UpstreamError} `denied`, `limited`, `down`, `slow` or `lying`, as the token service answered */
  get(request: TokenRequest, { upstream, credential, refused }: TokenQuery): Promise<Token> {
    const key = keyOf(request, credential)
    const fetch = () =>
      this.#flights.run(key, async () => {
        const token = await this.#exchange(request, upstream, credential)
        const renewAt = token.obtainedAt + (token.expiresAt - token.obtainedAt) * RENEWED_AFTER
        this.#tokens.set(key, { token, renewAt })
        return token
      })
    const kept = this.#tokens.get(key)
    const now = this.#now()
    if (!kept || kept.token.expiresAt <= now || kept.token.value === refused) return fetch()
    if (now >= kept.renewAt) {
      kept.renewAt = now + RENEWAL_PAUSE_MS
      // What fails here costs nothing yet: whoever comes after the token has expired is told.
      void fetch().catch(() => {})
    }
    return Promise.resolve(kept.token)
  }

  async #exchange(request: TokenRequest, upstream: string, credential: Credential | undefined): Promise<Token> {
    const obtainedAt = this.#now()
    const response = await this.#ask(request, upstream, credential)
    if (!response.ok) {
      await response.body?.cancel()
      throw refusal(response, upstream, this.#now())
    }
    const { value, lifetimeS } = await readToken(response, upstream)
    const marginS = Math.min(10, lifetimeS / 10)
    return { value, obtainedAt, expiresAt: obtainedAt + (lifetimeS - marginS) * 1000 }
  }

  /** By global fetch, looked up at each call; a redirect is an error, so that no credential can travel on. */
  async #ask(
    { realm, service, scope }: TokenRequest,
    upstream: string,
    credential: Credential | undefined,
  ): Promise<Response> {
    const url = new URL(realm)
    if (service !== undefined) url.searchParams.set('service', service)
    for (const one of scope.split(' ')) url.searchParams.append('scope', one)
    const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'entrepot' }
    if (credential) headers.authorization = basic(credential)
    try {
      const init: RequestInit = { headers, redirect: 'error', signal: AbortSignal.timeout(this.#timeoutMs) }
      // what fetch takes besides the standard's fields, and the types of Node know only by another version's name
      return await globalThis.fetch(url, {
        ...init,
        ...(this.#dispatcher && { dispatcher: this.#dispatcher }),
      } as RequestInit)
    } catch (cause) {
      const forbidden = forbiddenAddressIn(cause)
      if (forbidden) throw new UpstreamError('denied', forbidden.message, { upstream, cause })
      const late = cause instanceof Error && cause.name === 'TimeoutError'
      const message = `no answer from the token service at ${url.origin}`
      throw new UpstreamError(late ? 'slow' : 'down', message, { upstream, silent: late, cause })
    }
  }
}

/** The value of an Authorization header (RFC 7617). */
export function basic({ username, password }: Credential): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

function keyOf({ realm, service, scope }: TokenRequest, credential: Credential | undefined): string {
  const secret = credential ? createHash('sha256').update(basic(credential)).digest('hex') : ''
  return JSON.stringify([realm, service, scope, secret])
}

function refusal(response: Response, upstream: string, now: number): UpstreamError {
  const { status } = response
  const kind = status === 429 ? 'limited' : status >= 500 ? 'down' : 'denied'
  const retryAfterMs = parseRetryAfter(response.headers.get('retry-after') ?? undefined, now)
  const message = `the token service answered ${status}`
  return status === 401
    ? new LoginRefusedError(kind, message, { upstream })
    : new UpstreamError(kind, message, { upstream, retryAfterMs })
}

async function readToken(response: Response, upstream: string): Promise<{ value: string; lifetimeS: number }> {
  const json = parseObject(await readBounded(response, upstream), upstream)
  const value = [json.token, json.access_token].find((text) => typeof text === 'string' && text !== '')
  // a token goes into a header: one that could end it and begin another is refused
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
    throw new UpstreamError('denied', 'the token service gave no usable token', { upstream })
  }
  const announced = Number(json.expires_in)
  return { value, lifetimeS: announced > 0 ? Math.min(announced, MAX_LIFETIME_S) : DEFAULT_LIFETIME_S }
}

async function readBounded(response: Response, upstream: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response.body ?? []) {
      length += chunk.length
      if (length > BODY_LIMIT) throw new UpstreamError('lying', 'the token is too large', { upstream })
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof UpstreamError) throw cause
    throw new UpstreamError('down', 'the answer of the token service broke off', { upstream, cause })
  }
  return Buffer.concat(chunks).toString()
}

function parseObject(text: string, upstream: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json === 'object' && json !== null) return json as Record<string, unknown>
  } catch (cause) {
    throw new UpstreamError('lying', 'the token service did not answer with JSON', { upstream, foreign: true, cause })
  }
  throw new UpstreamError('lying', 'the token service did not answer with a JSON object', { upstream })
}
