import { LRUCache } from 'lru-cache'
import { sameOwner } from '../lib/hosts.js'
import type { AddressGuard } from './address-guard.js'
import { type Challenge, parseChallenges } from './challenge.js'
import { UpstreamError } from './errors.js'
import { basic, type Credential, type Token, type TokenRequest, type TokenSource } from './token-source.js'

export interface AuthorizerOptions {
  upstream: string
  /** `docker.io`: its own token service is asked without credentials where a mirror passes its challenge on. */
  registry: string
  url: URL
  credential: Credential | undefined
  tokens: TokenSource
  /** Where a realm may be. */
  guard: AddressGuard
  /** Hosts whose realms are trusted like the upstream's own; with `http://` before it one without TLS. */
  realms?: readonly string[] | undefined
}

/** What to send as Authorization, and since when a token in it is known. */
export interface Authorization {
  header: string
  token: Token | undefined
}

const REMEMBERED_REPOSITORIES = 10_000

/** Answers one upstream's challenges, and remembers them so that later requests carry the answer from the start. */
export class Authorizer {
  readonly #upstream: string
  readonly #registry: string
  readonly #url: URL
  readonly #credential: Credential | undefined
  readonly #tokens: TokenSource
  readonly #guard: AddressGuard
  readonly #realms: readonly string[]
  readonly #bearer = new LRUCache<string, TokenRequest>({ max: REMEMBERED_REPOSITORIES })
  /** Set once the upstream asked for Basic: it is the same for every repository. */
  #basic: Authorization | undefined

  constructor({ upstream, registry, url, credential, tokens, guard, realms = [] }: AuthorizerOptions) {
    this.#upstream = upstream
    this.#registry = new URL(`https://${registry}`).hostname
    this.#url = url
    this.#credential = credential
    this.#tokens = tokens
    this.#guard = guard
    this.#realms = realms
  }

  /** What is known to be wanted for `repository`; undefined until the upstream has challenged. */
  async known(repository: string): Promise<Authorization | undefined> {
    const request = this.#bearer.get(repository)
    return request ? this.#token(request, undefined) : this.#basic
  }

  /**
   * Answers a 401.
   *
   * @param refused what the request carried
   * @throws {UpstreamError} `denied` when there is nothing (else) to answer with, or the token service's own failure
   */
  async answer(
    header: string | string[] | undefined,
    repository: string,
    refused: Authorization | undefined,
  ): Promise<Authorization> {
    const challenges = parseChallenges(header)
    const bearer = challenges.find(({ scheme, params }) => scheme === 'bearer' && params.realm)
    if (bearer) {
      const request = this.#requestOf(bearer, repository)
      this.#bearer.set(repository, request)
      return this.#token(request, refused?.token?.value)
    }
    const wantsBasic = challenges.some(({ scheme }) => scheme === 'basic')
    if (!wantsBasic || !this.#credential || refused !== undefined) throw this.#denied('answered 401')
    this.#basic = { header: basic(this.#credential), token: undefined }
    return this.#basic
  }

  #requestOf({ params }: Challenge, repository: string): TokenRequest {
    const realm = params.realm !== undefined && URL.canParse(params.realm) ? new URL(params.realm) : undefined
    if (realm?.protocol !== 'https:' && realm?.protocol !== 'http:')
      throw this.#denied('challenges with a realm that is no URL')
    if (this.#url.protocol === 'https:' && realm.protocol === 'http:' && !this.#realms.includes(realm.origin))
      throw this.#denied('challenges with a realm that is not https')
    if (this.#guard.forbids(realm.hostname))
      throw this.#denied('challenges with a realm inside, and allowInternal is not set')
    if (!this.#trusts(realm) && !sameOwner(realm.hostname, this.#registry))
      throw this.#denied(`challenges with a realm at ${realm.host}, which is not among its realms`)
    return { realm: realm.href, service: params.service, scope: params.scope || `repository:${repository}:pull` }
  }

  async #token(request: TokenRequest, refused: string | undefined): Promise<Authorization> {
    const credential = this.#trusts(new URL(request.realm)) ? this.#credential : undefined
    const token = await this.#tokens.get(request, { upstream: this.#upstream, credential, refused })
    return { header: `Bearer ${token.value}`, token }
  }

  /** The password goes to the upstream's own host and domain (lib/hosts.ts has the rule) and to `realms`, and nowhere else. */
  #trusts({ hostname, host, origin }: URL): boolean {
    return sameOwner(hostname, this.#url.hostname) || this.#realms.includes(host) || this.#realms.includes(origin)
  }

  #denied(message: string): UpstreamError {
    return new UpstreamError('denied', message, { upstream: this.#upstream })
  }
}
