import { createHmac, randomBytes } from 'node:crypto'
import { verify } from '@node-rs/bcrypt'
import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import type { Users } from '../lib/htpasswd.js'
import { SingleFlight } from '../lib/single-flight.js'

const REMEMBERED = 2_000
const REMEMBER_MS = 5 * 60_000
/** Each holds one of the few threads that files are read with as well. */
const CHECKS_AT_ONCE = 2
/** Longer ones are nobody's, and bcrypt looks at 72 bytes. */
const PASSWORD_LIMIT = 1024
/** A hash of what nobody knows, behind `$2b$<cost>$`. */
const NOBODYS = 'C6UzMDM.H6dfI/f/IKcEeO3Xv9mQ0kXQb1mG2n8ZrWq1s7y5tJ4Ka'
const COST_WITHOUT_USERS = 10

/** Checks passwords, off the event loop; an answer is remembered for 5 minutes by a keyed hash, never by the password. */
export class Passwords {
  readonly #key = randomBytes(32)
  readonly #answers: LRUCache<string, boolean>
  readonly #running = new SingleFlight<boolean>()
  readonly #turn = pLimit(CHECKS_AT_ONCE)

  constructor({ now }: { now: () => number }) {
    this.#answers = new LRUCache({ max: REMEMBERED, ttl: REMEMBER_MS, ttlResolution: 0, perf: { now } })
  }

  /** Checks that wait for their turn. */
  get waiting(): number {
    return this.#turn.pendingCount
  }

  /** What is remembered of this name and password, for as long as the user's hash is the same. */
  remembered(users: Users, name: string, password: string): boolean | undefined {
    return this.#answers.get(this.keyOf(users, name, password))
  }

  /** An unknown name takes as long as a known one. */
  async check(users: Users, name: string, password: string): Promise<boolean> {
    const key = this.keyOf(users, name, password)
    return this.#running.run(key, async () => {
      const right = await this.#turn(() => compare(users, name, password))
      this.#answers.set(key, right)
      return right
    })
  }

  /** What stands for a name and password, and changes with the user's hash; it tells nothing of them. */
  keyOf(users: Users, name: string, password: string): string {
    const parts = JSON.stringify([name, password, users.get(name) ?? ''])
    return createHmac('sha256', this.#key).update(parts).digest('base64')
  }
}

async function compare(users: Users, name: string, password: string): Promise<boolean> {
  const hash = users.get(name)
  const same = await verify(password.slice(0, PASSWORD_LIMIT), hash ?? hashOfNobody(users))
  return same && hash !== undefined && password.length <= PASSWORD_LIMIT
}

/** As dear as the dearest of the file. */
function hashOfNobody(users: Users): string {
  const costs = [...users.values()].map((hash) => Number(hash.slice(4, 6)))
  const cost = costs.length === 0 ? COST_WITHOUT_USERS : costs.reduce((a, b) => Math.max(a, b))
  return `$2b$${String(cost).padStart(2, '0')}$${NOBODYS}`
}
