import type { IncomingHttpHeaders } from 'node:http'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import { Authorizer, type AuthorizerOptions } from './authorizer.js'
import { consequenceOf } from './consequence.js'
import { UpstreamError } from './errors.js'
import { header, parseRateLimit, type RateLimit } from './headers.js'
import { type Credential, LoginRefusedError } from './token-source.js'

export interface AccountsDeps {
  /** One for each credential, in order of preference; one without any where there is none. */
  authorizers: readonly Authorizer[]
  /** Share of a quota, from 0 to 1, at which it counts as low. */
  reserve: number
  log: Logger
  now: () => number
}

export interface CreateAccountsOptions extends Omit<AuthorizerOptions, 'credential'> {
  /** The first account. */
  username?: string | undefined
  password?: string | undefined
  /** Further ones, in order of preference. */
  credentials?: readonly Credential[] | undefined
  /** 0 when left out: no quota counts as low. */
  rateLimitReserve?: number | undefined
  log: Logger
  now: () => number
}

/** One credential, or none, in the eyes of an upstream. */
export interface Account {
  readonly authorizer: Authorizer
  /** From 1, for the log. */
  readonly number: number
}

interface State extends Account {
  restsUntil: number
  quota: Quota | undefined
}

interface Quota {
  rateLimit: RateLimit
  /** Whom the upstream counts, an address or a user: accounts that share it share the quota. */
  source: string | undefined
  until: number
}

/** Until a login that was refused is tried again. */
const LOGIN_REST_MS = 10 * 60_000
/** Until one is tried again for a repository that it was refused. */
const REFUSED_MS = 10 * 60_000
const REFUSED_LIMIT = 10_000
/** How long a quota is believed whose window is not told. */
const WINDOW_MS = 3_600_000

/** Which of an upstream's accounts to ask with, and what is left of each one's quota. */
export class Accounts {
  readonly #deps: AccountsDeps
  readonly #states: readonly State[]
  /** Accounts by repository and number that got 401 or 403, until when. */
  readonly #refused = new LRUCache<string, number>({ max: REFUSED_LIMIT })

  constructor(deps: AccountsDeps) {
    this.#deps = deps
    this.#states = deps.authorizers.map((authorizer, at) => ({
      authorizer,
      number: at + 1,
      restsUntil: 0,
      quota: undefined,
    }))
  }

  /** What is left of the quota of the account that would be used now. */
  get rateLimit(): RateLimit | undefined {
    return this.#quotaOf(this.#preferred())?.rateLimit
  }

  /** Whether that is low enough to be kept for what nobody else can answer. */
  get quotaLow(): boolean {
    return this.#isLow(this.#preferred())
  }

  /** The account to ask with; there is always one. */
  pick(repository: string): Account {
    return this.#inOrder(repository)[0] ?? this.#soonest()
  }

  /** Another one that may do better, after those that were tried. */
  another(repository: string, tried: ReadonlySet<Account>): Account | undefined {
    return this.#inOrder(repository).find((state) => !tried.has(state))
  }

  /** Takes note of the quota that an answer tells of. */
  answered(account: Account, headers: IncomingHttpHeaders): void {
    const rateLimit = parseRateLimit(headers)
    if (!rateLimit) return
    const windowMs = rateLimit.windowSeconds === undefined ? WINDOW_MS : rateLimit.windowSeconds * 1000
    const source = header(headers, 'docker-ratelimit-source')
    this.#stateOf(account).quota = { rateLimit, source, until: this.#deps.now() + windowMs }
  }

  /**
   * Takes note of a failure that is the account's.
   *
   * @returns the failure; where it is a limit, with the time until any account can be used again
   */
  failed(account: Account, repository: string, error: UpstreamError): UpstreamError {
    if (this.#states.length === 1) return error
    const state = this.#stateOf(account)
    const consequence = consequenceOf(error)
    if (consequence.kind === 'rest') return this.#limited(state, error, consequence.forMs)
    if (error instanceof LoginRefusedError) this.#rest(state, LOGIN_REST_MS, error)
    else if (error.kind === 'denied') this.#refused.set(`${state.number} ${repository}`, this.#deps.now() + REFUSED_MS)
    return error
  }

  #limited(state: State, error: UpstreamError, forMs: number): UpstreamError {
    const source = this.#quotaOf(state)?.source
    const sharing = this.#states.filter((other) => source !== undefined && this.#quotaOf(other)?.source === source)
    for (const each of new Set([state, ...sharing])) this.#rest(each, forMs, error)
    const { kind, message, upstream, cause } = error
    const retryAfterMs = Math.max(0, this.#soonest().restsUntil - this.#deps.now())
    return new UpstreamError(kind, message, { upstream, retryAfterMs, cause })
  }

  #rest(state: State, forMs: number, { message }: UpstreamError): void {
    state.restsUntil = this.#deps.now() + forMs
    this.#deps.log.warn({ account: state.number, forMs, reason: message }, 'an account of the upstream rests')
  }

  #preferred(): State {
    return this.#inOrder('')[0] ?? this.#soonest()
  }

  /** Those that may be used, the ones with enough left first. */
  #inOrder(repository: string): State[] {
    const now = this.#deps.now()
    const usable = this.#states.filter(
      ({ restsUntil, number }) => restsUntil <= now && (this.#refused.get(`${number} ${repository}`) ?? 0) <= now,
    )
    return [...usable.filter((state) => !this.#isLow(state)), ...usable.filter((state) => this.#isLow(state))]
  }

  #soonest(): State {
    return this.#states.reduce((best, state) => (state.restsUntil < best.restsUntil ? state : best))
  }

  #isLow(state: State): boolean {
    const { reserve } = this.#deps
    const rateLimit = this.#quotaOf(state)?.rateLimit
    return reserve > 0 && rateLimit !== undefined && rateLimit.remaining <= rateLimit.limit * reserve
  }

  /** Undefined once its window has passed. */
  #quotaOf({ quota }: State): Quota | undefined {
    return quota && this.#deps.now() < quota.until ? quota : undefined
  }

  #stateOf(account: Account): State {
    return this.#states[account.number - 1]!
  }
}

/** The accounts that an upstream's options list, or nobody's. */
export function createAccounts({
  username,
  password = '',
  credentials = [],
  rateLimitReserve: reserve = 0,
  log,
  now,
  ...common
}: CreateAccountsOptions): Accounts {
  const listed = [...(username ? [{ username, password }] : []), ...credentials]
  const authorizers = (listed.length > 0 ? listed : [undefined]).map(
    (credential) => new Authorizer({ ...common, credential }),
  )
  return new Accounts({ authorizers, reserve, log, now })
}
