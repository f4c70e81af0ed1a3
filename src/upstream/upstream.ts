import { LRUCache } from 'lru-cache'
import { abortable } from '../lib/abortable.js'
import type { UpstreamError } from './errors.js'
import type { Health } from './health.js'
import type { RegistryClient } from './registry-client.js'

export interface UpstreamDeps {
  client: RegistryClient
  health: Health
  now: () => number
}

const DENIED_FOR_MS = 60_000
const DENIED_REPOSITORIES = 10_000

/** One upstream as a group sees it: who asks it, whether it is worth asking, and what it refused lately. */
export class Upstream {
  readonly client: RegistryClient
  readonly health: Health
  readonly #now: () => number
  /** What a mirror refused, so that the twenty layers of an image do not ask again. */
  readonly #denied = new LRUCache<string, { error: UpstreamError; until: number }>({ max: DENIED_REPOSITORIES })

  constructor({ client, health, now }: UpstreamDeps) {
    this.client = client
    this.health = health
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

  /** Records what a failure means. */
  failed(repository: string, error: UpstreamError): void {
    this.client.traffic.failed(error)
    this.health.failed(error)
    if (error.kind === 'denied' && this.client.options.role === 'mirror') {
      this.#denied.set(repository, { error, until: this.#now() + DENIED_FOR_MS })
    }
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
