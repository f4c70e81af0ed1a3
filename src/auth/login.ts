import type { Logger } from 'pino'
import { ANYBODY } from '../lib/htpasswd.js'
import type { Credential, Throttled } from './access-policy.js'
import type { AccessRule } from './access-rules.js'
import { Attempts, type Origin } from './attempts.js'
import { HtpasswdFile } from './htpasswd-file.js'
import { Passwords } from './passwords.js'
import { loadTokenKey } from './token-key.js'
import { type IssuedToken, type TokenContent, Tokens } from './tokens.js'

/** Of all addresses, each of which has one; more do not come to their turn in good time. */
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
  readonly #attempts: Attempts<boolean | Throttled>
  #file: HtpasswdFile | undefined
  #tokens: Promise<Tokens> | undefined

  constructor(deps: LoginDeps) {
    this.#deps = deps
    this.#passwords = new Passwords(deps)
    this.#attempts = new Attempts(deps)
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

  /**
   * Checks a password; the same one of an address that is asked for several times at once is checked once.
   *
   * @param spare as in `identify`
   */
  async signIn({ name, password }: Account, origin: Origin, spare: boolean): Promise<Identity> {
    if (!this.#file) return FOREIGN
    const users = await this.#file.users()
    const throttled = this.#throttled(origin)
    if (throttled) return { credential: throttled }
    let counted = spare
    const right =
      this.#passwords.remembered(users, name, password) ??
      (await this.#attempts.inTurn(origin, this.#passwords.keyOf(users, name, password), async () => {
        if (this.#passwords.waiting > CHECKS_WAITING) return OVERLOADED
        const throttled = this.#throttled(origin)
        if (throttled) return throttled
        const right = await this.#passwords.check(users, name, password)
        // Before the next one's turn. What nobody has known to be wrong counts in any case.
        if (!right) this.#attempts.failed(origin)
        counted = true
        return right
      }))
    if (right === true) return { user: name, credential: { kind: 'password' } }
    if (right !== false) return { credential: right }
    if (!counted) this.#attempts.failed(origin)
    return FOREIGN
  }

  async issue(content: TokenContent): Promise<IssuedToken> {
    return (await this.#tokenService()).issue(content)
  }

  #throttled(origin: Origin): Throttled | undefined {
    const waitMs = this.#attempts.waitMs(origin)
    return waitMs > 0 ? { kind: 'throttled', why: 'failures', retryAfterSeconds: Math.ceil(waitMs / 1000) } : undefined
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
}

const FOREIGN: Identity = { credential: { kind: 'foreign' } }
const OVERLOADED: Throttled = { kind: 'throttled', why: 'overload', retryAfterSeconds: 1 }

/** RFC 7617. @returns `undefined` for what is none, and for the empty name and password of clients that have none */
function parseBasic(value: string): Account | undefined {
  const text = Buffer.from(value, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon > 0 ? { name: text.slice(0, colon), password: text.slice(colon + 1) } : undefined
}
