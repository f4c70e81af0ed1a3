import { OciError } from '../oci/errors.js'
import { type AccessRule, AccessRules, type Action } from './access-rules.js'
import { type Grant, grantFor, isCatalog } from './scope.js'

/** What a request's Authorization came to. */
export type Credential =
  | { kind: 'password' }
  | { kind: 'token'; grants: readonly Grant[] }
  /** Nothing that was made here, or that holds: Hub credentials, a wrong password, an expired token. */
  | { kind: 'foreign' }
  | Throttled

/** Not looked at: its address has sent too many wrong passwords, or those of all addresses come faster than can be checked. */
export interface Throttled {
  kind: 'throttled'
  why: 'failures' | 'overload'
  retryAfterSeconds: number
}

/** Who is asking. */
export interface Subject {
  /** The socket's own address is loopback, and neither a proxy nor a web page spoke for somebody else. */
  loopback: boolean
  /** Undefined: nobody in particular. */
  user?: string | undefined
  /** Undefined: none was sent. */
  credential?: Credential | undefined
}

/** Whoever comes from anywhere without a name. */
export const NOBODY: Subject = { loopback: false }

/** What is to be done, and where. */
export interface Need {
  action: Action
  /** `local/app`, `docker.io/library/nginx`. */
  repository: string
  /** Other names that a token may know the repository by, the one in the request's path first. */
  names: readonly string[]
}

/**
 * `deny` takes another configuration; the others another credential: `challenge` where none was sent, `foreign` where it
 * is of no use, `insufficient` where it is a token that is not for this.
 */
export type Verdict = 'allow' | 'deny' | 'challenge' | 'foreign' | 'insufficient'

export interface AccessPolicyDeps {
  /** What everybody may do, from `auth.anonymous`; undefined without `auth`: pull, and from loopback everything. */
  anonymous?: readonly Action[] | undefined
  /** From `auth.access`. */
  access?: readonly AccessRule[] | undefined
  /** From `auth.admins`. */
  admins?: readonly string[] | undefined
  /** Whether there are users: without, nobody is ever asked for a password. */
  login?: boolean | undefined
}

/** Who may do what. A user may do at least what everybody may. */
export class AccessPolicy {
  readonly #anonymous: readonly Action[] | undefined
  readonly #rules: AccessRules
  readonly #admins: readonly string[]
  /** Whether a credential is asked of everybody. */
  readonly login: boolean

  constructor({ anonymous, access = [], admins = [], login = false }: AccessPolicyDeps) {
    this.#anonymous = anonymous
    this.#rules = new AccessRules(access)
    this.#admins = admins
    this.login = login
  }

  /** What the person may do, whatever its token says. */
  may(subject: Pick<Subject, 'loopback' | 'user'>, action: Action, repository: string): boolean {
    if (!this.#anonymous) return action === 'pull' || subject.loopback
    const { user } = subject
    const ruled = this.#rules.actions(user, repository)
    if (ruled) return ruled.includes(action)
    // Without a single rule users may do everything: that is what they log in for.
    return this.#anonymous.includes(action) || (user !== undefined && this.#rules.empty)
  }

  /** Whether a list of repositories can hold any for this person. */
  mayList({ user }: Pick<Subject, 'user'>): boolean {
    if (!this.#anonymous || this.#anonymous.includes('pull')) return true
    return this.#rules.somewhere(user) || (user !== undefined && this.#rules.empty)
  }

  /** Whether access to one repository that is read through may differ from that to another. */
  get restrictsMirrored(): boolean {
    return this.#anonymous !== undefined && this.#rules.concernMirrored
  }

  /** What becomes of a request. Where there are users everybody brings a token, for what everybody may do as well. */
  judge(subject: Subject, need: Need): Verdict {
    const allowed = this.may(subject, need.action, need.repository)
    return this.#judge(subject, allowed, (grants) => grantFor(grants, need))
  }

  /** As `judge`, of a list of repositories. */
  judgeListing(subject: Subject): Verdict {
    return this.#judge(subject, this.mayList(subject), (grants) => grants.some(isCatalog))
  }

  #judge({ user, credential }: Subject, allowed: boolean, granted: (grants: readonly Grant[]) => boolean): Verdict {
    if (!this.login) return allowed ? 'allow' : 'deny'
    switch (credential?.kind) {
      case undefined:
        return 'challenge'
      case 'password':
        return allowed ? 'allow' : 'deny'
      case 'token':
        if (!allowed && user !== undefined) return 'deny'
        return allowed && granted(credential.grants) ? 'allow' : 'insufficient'
      case 'foreign':
      case 'throttled':
        return allowed ? 'allow' : 'foreign'
    }
  }

  /** DENIED, with what to change. */
  denial({ user }: Subject, { action, repository }: Need): OciError {
    if (user !== undefined)
      return new OciError('DENIED', `${user} may not ${action} here (${repository}): auth.access says who may`)
    if (action === 'pull')
      return new OciError('DENIED', 'pulling is not open to everybody here: add pull to auth.anonymous')
    const what = action === 'push' ? 'pushes' : 'deletions'
    const wanted = action === 'push' ? '[pull, push]' : '[pull, push, delete]'
    const open = `set auth: { anonymous: ${wanted} } in mirrors.yaml`
    return new OciError(
      'DENIED',
      this.#anonymous
        ? `${what} are not open to everybody here: ${open}`
        : `${what} are taken from this machine only (127.0.0.1, without a proxy or browser): to open them to everybody ${open}`,
    )
  }

  /**
   * For what administers the server: the users of `auth.admins`, by name and password; without any, or without `auth`,
   * whoever asks from loopback.
   *
   * @throws {OciError} UNAUTHORIZED with a challenge, DENIED with what to change, TOOMANYREQUESTS
   */
  checkAdmin(subject: Subject): void {
    const { user, credential } = subject
    if (this.isAdmin(subject)) return
    if (!this.#hasAdmins) {
      throw new OciError(
        'DENIED',
        'this is answered from this machine only (127.0.0.1, without a proxy or browser): to open it to a user, or to a page in a browser, name the user in auth.admins, with a password in auth.htpasswd',
      )
    }
    if (credential?.kind === 'throttled') throw notChecked(credential)
    if (user === undefined || credential?.kind !== 'password') {
      const headers = { 'www-authenticate': 'Basic realm="entrepot", charset="UTF-8"' }
      throw new OciError('UNAUTHORIZED', 'sign in as one of auth.admins', { headers })
    }
    throw new OciError('DENIED', `${user} is none of auth.admins`)
  }

  /** Whether `checkAdmin` lets pass. */
  isAdmin({ loopback, user, credential }: Subject): boolean {
    if (!this.#hasAdmins) return loopback
    return credential?.kind === 'password' && user !== undefined && this.#admins.includes(user)
  }

  get #hasAdmins(): boolean {
    return this.login && this.#admins.length > 0
  }
}

/** What is said to whom a password was not looked at for; waiting is all that helps. */
export function notChecked({ why, retryAfterSeconds }: Throttled): OciError {
  const wait = `wait ${retryAfterSeconds} s`
  const message =
    why === 'failures'
      ? `too many wrong passwords from this address: ${wait}`
      : `more passwords come in than can be checked, and this one was not looked at: ${wait}`
  return new OciError('TOOMANYREQUESTS', message, { headers: { 'retry-after': String(retryAfterSeconds) } })
}
