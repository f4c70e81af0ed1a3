import type { Account, Accounts } from './accounts.js'
import type { Authorization } from './authorizer.js'
import type { Answer, Connections } from './connections.js'
import { EncodedError, OutrunError, UpstreamError, type UpstreamFailure } from './errors.js'
import { encodingOf, header, parseRetryAfter } from './headers.js'
import type { Wanted } from './preference.js'
import { discard, type Followed, follow } from './redirects.js'
import type { Slots } from './slots.js'
import type { Traffic } from './traffic.js'
import type { KnownRedirect } from './upstream-options.js'

export interface AskerOptions {
  upstream: string
  role: 'origin' | 'mirror'
  /** Ends without a slash. */
  base: URL
  connections: Connections
  accounts: Accounts
  traffic: Traffic
  /** Each question has a place in it, from the first request until the answer's body has ended. */
  slots: Slots
  now: () => number
}

export interface Question {
  method?: 'GET' | 'HEAD'
  /** Below the upstream's base: `/v2/...`; or an absolute URL that `nextPage` gave. */
  path: string
  repository: string
  /** `manifest` when left out. */
  wanted?: Wanted
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
  /** Told when its turn has come and it is sent. */
  begun?: (() => void) | undefined
  /** Where an answer was found before, and the next one is looked for first. */
  redirect?: KnownRedirect | undefined
  /** Whether an answer will do that is compressed although identity was asked for. */
  encoded?: boolean
  /** Statuses besides 200 and 206 that the caller deals with itself. */
  accept?: readonly number[]
  /** Any status below 500 but 429 will do. */
  anyBelow500?: boolean
}

const ALWAYS = { 'accept-encoding': 'identity', 'user-agent': 'entrepot' }

/** One request to an upstream with everything around it: its challenges, its redirects, and what its status means. */
export class Asker {
  readonly #options: AskerOptions

  constructor(options: AskerOptions) {
    this.#options = options
  }

  /**
   * Waits for its turn. Where one account is limited or refused, the next one is used.
   *
   * @returns an answer with status 200, 206 or one of `accept`; the body is the caller's to read or discard
   * @throws {UpstreamError} of any kind; the signal's reason when it aborts
   */
  async ask(question: Question): Promise<Answer> {
    const leave = await this.#options.slots.enter(question.wanted ?? 'manifest', question.signal)
    question.begun?.()
    try {
      const answer = await this.#askAsAny(question)
      if (answer.body.closed) leave()
      else answer.body.once('close', leave)
      return answer
    } catch (error) {
      leave()
      throw error
    }
  }

  async #askAsAny(question: Question): Promise<Answer> {
    const { accounts } = this.#options
    const { repository } = question
    const tried = new Set<Account>()
    for (let account = accounts.pick(repository); ; ) {
      try {
        return await this.#askAs(account, question)
      } catch (error) {
        if (!(error instanceof UpstreamError) || !isOfAccount(error)) throw error
        const told = accounts.failed(account, repository, error)
        const next = accounts.another(repository, tried.add(account))
        if (!next) throw told
        account = next
      }
    }
  }

  async #askAs(account: Account, question: Question): Promise<Answer> {
    const { traffic, upstream, accounts } = this.#options
    traffic.requested()
    const answer = await this.#timed(question, () => this.#authorized(account, question))
    traffic.answered(answer.status, answer.ttfbMs, question.wanted ?? 'manifest')
    if (!answer.elsewhere) accounts.answered(account, answer.headers)
    try {
      if (!isWanted(answer.status, question)) throw this.#refusal(answer)
      const encoding = encodingOf(answer)
      if (encoding === 'identity' || (encoding === 'gzip' && question.encoded)) return answer
      const message = `encoded as ${encoding.slice(0, 40)} although identity was asked for`
      throw new (encoding === 'gzip' ? EncodedError : UpstreamError)('lying', message, { upstream, foreign: true })
    } catch (error) {
      discard(answer)
      throw error
    }
  }

  /** Notes how long it was waited for where another upstream was quicker. */
  async #timed(question: Question, ask: () => Promise<Followed>): Promise<Followed> {
    const askedAt = performance.now()
    try {
      return await ask()
    } catch (error) {
      if (error instanceof OutrunError) {
        this.#options.traffic.outrun(performance.now() - askedAt, question.wanted ?? 'manifest')
      }
      throw error
    }
  }

  /** Sends what is known to be wanted and answers a 401; once more if it was answered with a token from before. */
  async #authorized({ authorizer }: Account, question: Question): Promise<Followed> {
    const { now } = this.#options
    const { repository } = question
    const beganAt = now()
    let used = question.redirect?.target ? undefined : await authorizer.known(repository)
    for (let answers = 0; ; answers++) {
      const answer = await this.#send(question, used)
      if (answer.status !== 401 || answer.elsewhere || question.anyBelow500) return answer
      if (answers > 0 && used?.token && used.token.obtainedAt >= beganAt) return answer
      discard(answer)
      const next = await authorizer.answer(answer.headers['www-authenticate'], repository, used)
      if (next.token && next.token.value === used?.token?.value) throw this.#error('denied', 'answered 401')
      used = next
    }
  }

  /**
   * The next page of a list by its Link header (RFC 8288), relative to the page it came with; undefined at the end.
   *
   * @throws {UpstreamError} `lying` when it leads to another origin
   */
  nextPage(path: string, link: string | undefined): string | undefined {
    const [, target] = /<([^>]*)>\s*;[^,]*\brel="?next\b/i.exec(link ?? '') ?? []
    if (target === undefined) return undefined
    // a registry behind a path prefix often does not know of it
    if (target.startsWith('/v2/')) return target
    const from = this.#urlOf(path)
    const next = URL.canParse(target, from.href) ? new URL(target, from) : undefined
    if (next?.origin === from.origin) return next.href
    throw this.#error('lying', 'a list that goes on at another origin')
  }

  #urlOf(path: string): URL {
    const { base } = this.#options
    return path.startsWith('/') ? new URL(base.pathname.replace(/\/$/, '') + path, base) : new URL(path)
  }

  #send(
    { method = 'GET', path, headers, signal, redirect }: Question,
    used: Authorization | undefined,
  ): Promise<Followed> {
    const { connections, upstream } = this.#options
    return follow(connections, upstream, this.#urlOf(path), {
      method,
      headers: { ...ALWAYS, ...headers },
      authorization: used?.header,
      redirect,
      signal,
    })
  }

  #refusal(answer: Answer & { elsewhere?: boolean }): UpstreamError {
    const { status, headers } = answer
    const retryAfterMs = parseRetryAfter(header(headers, 'retry-after'), this.#options.now())
    // what a store behind a redirect refuses (an expired signature, a lost object) is not the registry's word
    if (answer.elsewhere && status < 500) return this.#error('down', `redirected to a place that answered ${status}`)
    return this.#error(kindOf(status), `answered ${status}`, retryAfterMs)
  }

  #error(kind: UpstreamFailure, message: string, retryAfterMs?: number): UpstreamError {
    const { upstream, role } = this.#options
    return new UpstreamError(kind, message, {
      upstream,
      retryAfterMs,
      authoritative: kind === 'not-found' && role === 'origin',
    })
  }
}

/** Whether it may be otherwise for another account. */
function isOfAccount({ kind }: UpstreamError): boolean {
  return kind === 'limited' || kind === 'quota' || kind === 'denied'
}

function isWanted(status: number, { accept, anyBelow500 }: Question): boolean {
  if (anyBelow500) return status < 500 && status !== 429
  return status === 200 || status === 206 || (accept?.includes(status) ?? false)
}

function kindOf(status: number): UpstreamFailure {
  if (status >= 500) return 'down'
  switch (status) {
    case 401:
    case 403:
    case 451:
      return 'denied'
    case 402:
      return 'quota'
    case 404:
    case 410:
      return 'not-found'
    case 408:
      return 'slow'
    case 429:
      return 'limited'
    default:
      return 'lying'
  }
}
