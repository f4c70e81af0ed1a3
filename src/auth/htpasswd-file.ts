import { readFile, stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Complaint } from '../lib/complaint.js'
import { parseHtpasswd, type Users } from '../lib/htpasswd.js'
import { SingleFlight } from '../lib/single-flight.js'

/** An editor or script that writes the file in place empties it first, and has filled it by then. */
const EMPTY_FOR_MS = 200

export interface HtpasswdFileDeps {
  /** Absolute. */
  path: string
  log: Logger
  /** Lets so many milliseconds pass; left out: on the clock. */
  wait?: (ms: number) => Promise<void>
}

/**
 * The users of an htpasswd file, as it is now: it is read again when it has changed. One that has become bad, or is gone,
 * is logged once, and what it was before counts on.
 */
export class HtpasswdFile {
  readonly path: string
  readonly #log: Logger
  readonly #wait: (ms: number) => Promise<void>
  readonly #trouble = new Complaint()
  readonly #reading = new SingleFlight<void>()
  #users: Users = new Map()
  #seen = ''

  constructor({ path, log, wait = delay }: HtpasswdFileDeps) {
    this.path = path
    this.#log = log.child({ module: 'auth' })
    this.#wait = wait
  }

  /** As they were when somebody last signed in. */
  get known(): Users {
    return this.#users
  }

  async users(): Promise<Users> {
    await this.#reading.run('', () => this.#refresh())
    return this.#users
  }

  async #refresh(): Promise<void> {
    try {
      const { ino, size, mtimeNs, ctimeNs } = await stat(this.path, { bigint: true })
      const seen = [ino, size, mtimeNs, ctimeNs].join(' ')
      if (seen === this.#seen) return
      const { users, faults } = parseHtpasswd(await this.#read())
      // Of the time before the reading: what is written after it is another change.
      this.#seen = seen
      if (faults.length === 0) this.#take(users)
      else this.#complain({ at: `${this.path}:${faults[0]!.line}`, reason: faults[0]!.message })
    } catch (error) {
      this.#seen = ''
      this.#complain({ at: this.path, reason: (error as NodeJS.ErrnoException).code ?? String(error) })
    }
  }

  async #read(): Promise<string> {
    const text = await readFile(this.path, 'utf8')
    if (text !== '' || this.#users.size === 0) return text
    await this.#wait(EMPTY_FOR_MS)
    return readFile(this.path, 'utf8')
  }

  #take(users: Users): void {
    this.#users = users
    this.#trouble.over()
  }

  #complain(fault: { at: string; reason: string }): void {
    if (this.#trouble.raise())
      this.#log.error(
        fault,
        'auth.htpasswd cannot be used as it is now: the users that it had before count until it is put right',
      )
  }
}
