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

  /**
   * A refusal costs one check of the dearest hash in the file, and before it that of the user's own if it is cheaper; a name
   * that nobody has is taken for one whose hash costs what some user's does. So time does not tell which names there are.
   */
  async check(users: Users, name: string, password: string): Promise<boolean> {
    const key = this.keyOf(users, name, password)
    return this.#running.run(key, async () => {
      const right = await this.#turn(() => this.#compare(users, name, password))
      this.#answers.set(key, right)
      return right
    })
  }

  /** What stands for a name and password, and changes with the user's hash; it tells nothing of them. */
  keyOf(users: Users, name: string, password: string): string {
    const parts = JSON.stringify([name, password, users.get(name) ?? ''])
    return createHmac('sha256', this.#key).update(parts).digest('base64')
  }

  async #compare(users: Users, name: string, password: string): Promise<boolean> {
    const costs = [...users.values()].map(costOf)
    const hash = users.get(name)
    const cost = hash === undefined ? this.#costOfNobody(costs, name) : costOf(hash)
    const heard = password.slice(0, PASSWORD_LIMIT)
    const same = await verify(heard, hash ?? hashOfNobody(cost))
    if (same && hash !== undefined && password.length <= PASSWORD_LIMIT) return true
    const dearest = costs.reduce((a, b) => Math.max(a, b), cost)
    if (cost < dearest) await verify(heard, hashOfNobody(dearest))
    return false
  }

  /** That of some user; for one name always of the same one. */
  #costOfNobody(costs: number[], name: string): number {
    const drawn = createHmac('sha256', this.#key).update(name).digest().readUInt32BE()
    return costs[drawn % costs.length] ?? COST_WITHOUT_USERS
  }
}

/** One that nobody knows the password of. */
function hashOfNobody(cost: number): string {
  return `$2b$${String(cost).padStart(2, '0')}$${NOBODYS}`
}

function costOf(hash: string): number {
  return Number(hash.slice(4, 6))
}
