import { isIPv6 } from 'node:net'
import type { Logger } from 'pino'
import { ANYBODY } from '../lib/htpasswd.js'
import type { Credential } from './access-policy.js'
import type { AccessRule } from './access-rules.js'
import { HtpasswdFile } from './htpasswd-file.js'
import { Passwords } from './passwords.js'
import { Throttle } from './throttle.js'
import { loadTokenKey } from './token-key.js'
import { type IssuedToken, type TokenContent, Tokens } from './tokens.js'

/** Wrong passwords that an address may give at once, and then one in so long. */
const FAILURES = { allowance: 10, refillMs: 6_000 }
/** A proxy speaks for many; whoever only says to be one gains no more than this. */
const PROXY_FAILURES = { allowance: 200, refillMs: 300 }
const CHECKS_WAITING = 100

export interface LoginDeps {
  /** Where the key of the tokens is kept. */
  keyFile: string
  log: Logger
  now: () => number
}

/** The part of the configuration that is about users. */
export interface LoginSettings {
  /** Absolute; undefined: there are no users. */
  htpasswd?: string | undefined
  access?: readonly AccessRule[] | undefined
  admins?: readonly string[] | undefined
}

/** Whence a request came: the socket's address, and what a proxy there says it speaks for. */
export interface Origin {
  address: string
  forwardedFor?: string | undefined
}

/** A name and a password, as they came in. */
export interface Account {
  name: string
  password: string
}

/** Who was found to be asking, and by what. */
export interface Identity {
  user?: string | undefined
  credential?: Credential | undefined
}

/** Who asks: checks passwords and tokens, and gives tokens out. Users can change while it runs. */
export class Login {
  readonly #deps: LoginDeps
  readonly #passwords: Passwords
  readonly #clients: Throttle
  readonly #proxies: Throttle
  #file: HtpasswdFile | undefined
  #tokens: Promise<Tokens> | undefined

  constructor(deps: LoginDeps) {
    this.#deps = deps
    this.#passwords = new Passwords(deps)
    this.#clients = new Throttle({ ...FAILURES, now: deps.now })
    this.#proxies = new Throttle({ ...PROXY_FAILURES, now: deps.now })
  }

  /** Takes another configuration; users of the rules that are not in the file are told. */
  configure(settings: LoginSettings | undefined): void {
    const path = settings?.htpasswd
    if (path !== this.#file?.path)
      this.#file = path === undefined ? undefined : new HtpasswdFile({ path, ...this.#deps })
    if (!this.#file || !settings) return
    const file = this.#file
    file.users().then(
      (users) => {
        const named = [...(settings.access ?? []).flatMap(({ users = [] }) => users), ...(settings.admins ?? [])]
        const unknown = [...new Set(named)].filter((name) => name !== ANYBODY && !users.has(name))
        if (unknown.length > 0)
          this.#deps.log.warn(
            { users: unknown },
            'auth names users that auth.htpasswd does not have: nobody can sign in as them',
          )
      },
      (err) => this.#deps.log.error({ err }, 'auth.htpasswd cannot be read'),
    )
  }

  /**
   * Reads an Authorization header. What is of no use here is `foreign`, whoever made it.
   *
   * @param spare that everybody may do what is asked: repeating one wrong password is then held against nobody
   */
  async identify(authorization: string | undefined, origin: Origin, spare: boolean): Promise<Identity> {
    if (authorization === undefined) return {}
    const [, scheme = '', value = ''] = /^([A-Za-z]+) +([^ ]+) *$/.exec(authorization) ?? []
    if (scheme.toLowerCase() === 'bearer') return this.#byToken(value)
    const account = scheme.toLowerCase() === 'basic' ? parseBasic(value) : undefined
    return account ? this.signIn(account, origin, spare) : FOREIGN
  }

  /** Checks a password. @param spare as in `identify` */
  async signIn(account: Account, origin: Origin, spare: boolean): Promise<Identity> {
    if (!this.#file) return FOREIGN
    const users = await this.#file.users()
    const retryAfterSeconds = this.#waitSeconds(origin)
    if (retryAfterSeconds > 0) return { credential: { kind: 'throttled', retryAfterSeconds } }
    const { name, password } = account
    const remembered = this.#passwords.remembered(users, name, password)
    if (remembered) return { user: name, credential: { kind: 'password' } }
    if (remembered === undefined || !spare) this.#count(origin, 'spend')
    if (remembered === false) return FOREIGN
    if (!(await this.#passwords.check(users, name, password))) return FOREIGN
    this.#count(origin, 'refund')
    return { user: name, credential: { kind: 'password' } }
  }

  async issue(content: TokenContent): Promise<IssuedToken> {
    return (await this.#tokenService()).issue(content)
  }

  async #byToken(token: string): Promise<Identity> {
    if (!this.#file) return FOREIGN
    const content = await (await this.#tokenService()).check(token)
    if (!content) return FOREIGN
    const { user, grants } = content
    // Whoever was taken out of the file is nobody once that has been seen.
    if (user !== undefined && !this.#file.known.has(user) && !(await this.#file.users()).has(user)) return FOREIGN
    return { user, credential: { kind: 'token', grants } }
  }

  #tokenService(): Promise<Tokens> {
    const { keyFile, log, now } = this.#deps
    this.#tokens ??= loadTokenKey(keyFile, log).then((key) => new Tokens({ key, now }))
    return this.#tokens
  }

  #waitSeconds({ address, forwardedFor }: Origin): number {
    if (this.#passwords.waiting > CHECKS_WAITING) return 1
    const waitMs = forwardedFor
      ? Math.max(this.#clients.waitMs(networkOf(forwardedFor)), this.#proxies.waitMs(address))
      : this.#clients.waitMs(networkOf(address))
    return Math.ceil(waitMs / 1000)
  }

  #count({ address, forwardedFor }: Origin, what: 'spend' | 'refund'): void {
    this.#clients[what](networkOf(forwardedFor ?? address))
    if (forwardedFor) this.#proxies[what](address)
  }
}

const FOREIGN: Identity = { credential: { kind: 'foreign' } }

/** RFC 7617. @returns `undefined` for what is none, and for the empty name and password of clients that have none */
function parseBasic(value: string): Account | undefined {
  const text = Buffer.from(value, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon > 0 ? { name: text.slice(0, colon), password: text.slice(colon + 1) } : undefined
}

/** Of IPv6 the network, since a client has as many addresses there as it likes. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1]!
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const groups = head.split(':').filter(Boolean)
  const after = tail?.split(':').filter(Boolean) ?? []
  const whole = [...groups, ...Array<string>(Math.max(0, 8 - groups.length - after.length)).fill('0'), ...after]
  return whole
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')
}
