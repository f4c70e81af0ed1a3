import { OciError } from '../oci/errors.js'

export type Action = 'pull' | 'push'

/** Who is asking. */
export interface Subject {
  /** The socket's own address is loopback and no proxy spoke for somebody else. */
  loopback: boolean
}

/**
 * What nobody in particular may do. Without rules everybody may pull, and pushes and deletes come from loopback only.
 */
export class AccessPolicy {
  readonly #anonymous: readonly Action[] | undefined

  /** @param anonymous from the configuration's `auth.anonymous`; undefined without `auth` */
  constructor({ anonymous }: { anonymous: readonly Action[] | undefined }) {
    this.#anonymous = anonymous
  }

  /** @throws {OciError} DENIED with what to change */
  check(subject: Subject, action: Action): void {
    if (this.may(subject, action)) return
    if (action === 'pull')
      throw new OciError('DENIED', 'pulling is not open to everybody here: add pull to auth.anonymous')
    throw new OciError(
      'DENIED',
      this.#anonymous
        ? 'pushes are not open to everybody here: set auth: { anonymous: [pull, push] } in mirrors.yaml'
        : 'pushes are taken from this machine only (127.0.0.1): to open them to everybody set auth: { anonymous: [pull, push] } in mirrors.yaml',
    )
  }

  may(subject: Subject, action: Action): boolean {
    return this.#anonymous ? this.#anonymous.includes(action) : action === 'pull' || subject.loopback
  }
}
