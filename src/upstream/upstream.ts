import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { UpstreamState } from '../events.js'
import { abortable } from '../lib/abortable.js'
import type { UpstreamError } from './errors.js'
import type { RateLimit } from './headers.js'
import type { Health } from './health.js'
import type { RegistryClient } from './registry-client.js'
import type { TrafficFigures } from './traffic.js'

export interface UpstreamDeps {
  client: RegistryClient
  health: Health
  log: Logger
  now: () => number
}

/** A repository that an upstream refuses. */
interface Refusal {
  repository: string
  reason: string
  /** When it is asked for it again, in ms since the epoch. */
  until: number
}

/** One upstream for /stats; figures are since the start of the process. */
export interface UpstreamStanding extends TrafficFigures {
  name: string
  role: 'origin' | 'mirror'
  state: UpstreamState
  /** Why it is not up. */
  reason: string | undefined
  /** Until when, in ms since the epoch; `undefined` while it is being found out whether it is up. */
  until: number | undefined
  /** Repositories that it refuses for now, the latest ten. */
  refusals: Refusal[]
  /** Of the account that is used now. */
  rateLimit: RateLimit | undefined
}

const DENIED_FOR_MS = 60_000
const DENIED_REPOSITORIES = 10_000
const REFUSALS_TOLD = 10

/** One upstream as a group sees it: who asks it, whether it is worth asking, and what it refused lately. */
export class Upstream {
  readonly client: RegistryClient
  readonly health: Health
  readonly #log: Logger
  readonly #now: () => number
  /** What a mirror refused, so that the twenty layers of an image do not ask again. */
  readonly #denied = new LRUCache<string, { error: UpstreamError; until: number }>({ max: DENIED_REPOSITORIES })
  #users = 0
  #onUnused: (() => void) | undefined

  constructor({ client, health, log, now }: UpstreamDeps) {
    const { registry, name: upstream } = client.options
    this.client = client
    this.health = health
    this.#log = log.child({ module: 'upstream', registry, upstream })
    this.#now = now
  }

  get name(): string {
    return this.client.name
  }

  /** A refusal of this repository that still stands. */
  refusal(repository: string): UpstreamError | undefined {
    const denied = this.#denied.get(repository)
    return denied && denied.until > this.#now() ? denied.error : undefined
  }

  standing(): UpstreamStanding {
    const { name, client, health } = this
    return {
      name,
      role: client.options.role,
      state: health.state,
      reason: health.reason,
      until: health.until,
      refusals: this.#refusals(),
      ...client.traffic.figures(),
      rateLimit: client.accounts.rateLimit,
    }
  }

  /** Records what a failure means. */
  failed(repository: string, error: UpstreamError): void {
    this.client.traffic.failed(error)
    this.health.failed(error)
    if (error.kind === 'denied' && this.client.options.role === 'mirror') this.#refused(repository, error)
  }

  #refusals(): Refusal[] {
    const found: Refusal[] = []
    for (const [repository, { error, until }] of this.#denied.entries()) {
      if (found.length === REFUSALS_TOLD) break
      if (until > this.#now()) found.push({ repository, reason: error.message, until })
    }
    return found
  }

  #refused(repository: string, error: UpstreamError): void {
    const known = this.refusal(repository)
    this.#denied.set(repository, { error, until: this.#now() + DENIED_FOR_MS })
    if (!known)
      this.#log.info({ repository, reason: error.message, forMs: DENIED_FOR_MS }, 'upstream refuses a repository')
  }

  /** Counts as used until what is returned is called, which every user does once. */
  use(): () => void {
    this.#users++
    return () => {
      this.#users--
      if (this.#users === 0) this.#onUnused?.()
    }
  }

  /** Resolves when nobody uses it; for one that nobody will begin to use. */
  async unused(): Promise<void> {
    if (this.#users === 0) return
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve
    })
  }

  /** Ends its probe, timer and connections at once. */
  async close(): Promise<void> {
    await this.health.close()
    await this.client.close()
  }
}

/** Keeps them open while `work` runs. */
export async function using<Value>(upstreams: readonly Upstream[], work: () => Promise<Value>): Promise<Value> {
  const leave = upstreams.map((upstream) => upstream.use())
  try {
    return await work()
  } finally {
    for (const each of leave) each()
  }
}

/** Waits for a probe under way instead of dialling beside it; one that asked to be left alone for a while is. */
export async function worthATry({ health }: Upstream, signal: AbortSignal | undefined): Promise<boolean> {
  const { probing } = health
  if (health.state === 'limited' && health.skipped().kind === 'limited') return false
  if (!probing) return true
  await abortable(probing, signal)
  return health.usable()
}
