import { type AccessPolicy, NOBODY, type Subject } from '../../auth/access-policy.js'
import type { Action } from '../../auth/access-rules.js'

/** What one request may do besides what it was let in for. */
export class Access {
  readonly #policy: AccessPolicy
  readonly #subject: Subject

  constructor({ policy, subject }: { policy: AccessPolicy; subject: Subject }) {
    this.#policy = policy
    this.#subject = subject
  }

  /** Whether the one who asks may do that there: what shows that something exists is for those who may pull it. */
  may(action: Action, repository: string): boolean {
    return this.#policy.may(this.#subject, action, repository)
  }

  /** As `may`, and a token must be for it too, unless everybody may: for what takes from another repository, known by `name`. */
  mayTake(repository: string, name: string): boolean {
    if (this.#policy.may(NOBODY, 'pull', repository)) return true
    return this.#policy.judge(this.#subject, { action: 'pull', repository, names: [name] }) === 'allow'
  }
}
