import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Repository, Tag } from '../oci/reference.js'

export interface HotTagsDeps {
  /** A tag is hot that was asked for so often within a day. */
  hotAfter: number
  checksPerMinute: number
  /** How long a tag's answer is served unasked; `undefined` when nothing is known of it. */
  freshness: (repository: Repository, tag: Tag) => Promise<Freshness | undefined>
  /** Asks an origin, fetches ahead what has moved, and hears other origins. */
  check: (repository: Repository, tag: Tag) => Promise<void>
  originReachable: () => boolean
  log: Logger
  now: () => number
  /** From 0 to 1. */
  random: () => number
}

/** Both in ms since the epoch. */
export interface Freshness {
  checkedAt: number
  freshUntil: number
}

interface AskedTag {
  repository: Repository
  tag: Tag
  /** When it was asked for, the latest last; as many as it takes to be hot. */
  times: number[]
  triedAt: number
  /** The share of its TTL by which it is checked before the end, so that not all are at once. */
  early: number
}

const TAGS_LIMIT = 2_000
const DAY_MS = 24 * 3_600_000
const MINUTE_MS = 60_000
/** What is to be asked more often than this is asked when it is pulled. */
const LEAST_TTL_MS = MINUTE_MS

/** Tags that are asked for often, checked off the request path shortly before their answers get old. */
export class HotTags {
  readonly #deps: HotTagsDeps
  readonly #log: Logger
  readonly #tags = new LRUCache<string, AskedTag>({ max: TAGS_LIMIT })
  /** When checks of the last minute began. */
  #checks: number[] = []

  constructor(deps: HotTagsDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'hot-tags' })
  }

  /** A client has asked for this tag. */
  asked(repository: Repository, tag: Tag): void {
    const { hotAfter, now } = this.#deps
    const key = `${repository}:${tag}`
    const known = this.#tags.get(key) ?? { repository, tag, times: [], triedAt: 0, early: this.#early() }
    known.times = [...known.times, now()].slice(-hotAfter)
    this.#tags.set(key, known)
  }

  /** Begins the checks that are due, as many as may be; what they bring is not awaited, a failed one is tried a TTL later. */
  async recheck(): Promise<void> {
    const { originReachable, check, now } = this.#deps
    for (const asked of await this.#due()) {
      if (!originReachable() || !this.#takeTurn()) return
      const { repository, tag } = asked
      asked.triedAt = now()
      asked.early = this.#early()
      void check(repository, tag).catch((error: unknown) =>
        this.#log.debug({ repository, tag, reason: (error as Error).message }, 'hot tag not checked'),
      )
    }
  }

  /** Hot tags whose time has come, the longest due first. */
  async #due(): Promise<AskedTag[]> {
    const { freshness, now } = this.#deps
    const due: { asked: AskedTag; at: number }[] = []
    for (const asked of [...this.#tags.values()].filter((each) => this.#isHot(each))) {
      const known = await freshness(asked.repository, asked.tag)
      const ttlMs = known ? known.freshUntil - known.checkedAt : 0
      if (!known || ttlMs < LEAST_TTL_MS) continue
      const at = Math.max(known.checkedAt, asked.triedAt) + ttlMs * (1 - asked.early)
      if (now() >= at) due.push({ asked, at })
    }
    return due.sort((one, other) => one.at - other.at).map(({ asked }) => asked)
  }

  #isHot({ times }: AskedTag): boolean {
    const { hotAfter, now } = this.#deps
    return times.length === hotAfter && now() - times[0]! < DAY_MS
  }

  #takeTurn(): boolean {
    const at = this.#deps.now()
    this.#checks = this.#checks.filter((check) => at - check < MINUTE_MS)
    if (this.#checks.length >= this.#deps.checksPerMinute) return false
    this.#checks.push(at)
    return true
  }

  /** Between a tenth and a fifth of the TTL. */
  #early(): number {
    return 0.1 + this.#deps.random() * 0.1
  }
}
