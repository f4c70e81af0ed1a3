import type { Logger } from 'pino'
import type { EventBus, UpstreamState } from '../events.js'
import { Circuit } from '../lib/circuit.js'
import { consequenceOf } from './consequence.js'
import { UpstreamError } from './errors.js'

export interface HealthDeps {
  registry: string
  upstream: string
  /** Finds out whether the upstream is alive. @throws {UpstreamError} when it is not */
  probe: (signal: AbortSignal) => Promise<void>
  events: EventBus
  log: Logger
  now: () => number
}

/** Until when it is left alone, in ms since the epoch, and why. */
interface Pause {
  until: number
  error: UpstreamError | undefined
}

const THRESHOLD = 3
const COOL_DOWN_MS = 10_000
const MAX_COOL_DOWN_MS = 120_000
const QUARANTINE_MS = 10 * 60_000

/**
 * Whether one upstream is worth asking. A circuit that is open stays so until a probe, sent off the request path when
 * its cool-down is over, was answered. State changes are told once, as event and in the log.
 */
export class Health {
  readonly #deps: HealthDeps
  readonly #log: Logger
  readonly #circuit: Circuit
  readonly #closing = new AbortController()
  #rest: Pause | undefined
  #quarantine: Pause | undefined
  #probing: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #announced: UpstreamState = 'up'
  /** The last that counted. */
  #lastFailure: UpstreamError | undefined
  /** The last that the circuit was told of. */
  #outage: UpstreamError | undefined

  constructor(deps: HealthDeps) {
    const { registry, upstream, log, now } = deps
    this.#deps = deps
    this.#log = log.child({ module: 'health', registry, upstream })
    this.#circuit = new Circuit({
      now,
      threshold: THRESHOLD,
      coolDownMs: COOL_DOWN_MS,
      maxCoolDownMs: MAX_COOL_DOWN_MS,
    })
  }

  get state(): UpstreamState {
    if (this.#isOn(this.#quarantine)) return 'quarantined'
    if (this.#circuit.state !== 'closed') return 'open'
    return this.#isOn(this.#rest) ? 'limited' : 'up'
  }

  /** Why it is not up. */
  get reason(): string | undefined {
    return this.#pause()?.error?.message
  }

  /** Until when it is not, or not asked whether it is, in ms since the epoch; `undefined` while that is being found out. */
  get until(): number | undefined {
    const pause = this.#pause()
    return this.#isOn(pause) ? pause?.until : undefined
  }

  /** The probe under way, if any; it never rejects. */
  get probing(): Promise<void> | undefined {
    return this.#probing
  }

  /** Whether a request should ask it now. Asking for one that is due sends its probe. */
  usable(): boolean {
    this.#announce()
    if (this.#circuit.state === 'due') this.#startProbe()
    return this.state === 'up'
  }

  /** What to say of it when it was left alone: its last failure, with the time that is left to wait. */
  skipped(): UpstreamError {
    const { upstream, now } = this.#deps
    const pause = this.#pause()
    const last = pause?.error ?? this.#lastFailure
    const kind = last?.kind ?? 'down'
    const retryAfterMs = pause && pause === this.#rest ? pause.until - now() : undefined
    return new UpstreamError(kind, `left alone for now: ${last?.message ?? this.state}`, {
      upstream,
      retryAfterMs,
      cause: last,
    })
  }

  succeeded(): void {
    this.#circuit.succeed()
    this.#rest = undefined
    this.#announce()
  }

  /** It answered, but whether well is not known yet. */
  answered(): void {
    this.#circuit.alive()
    this.#announce()
  }

  failed(error: UpstreamError): void {
    const consequence = consequenceOf(error)
    if (consequence.kind !== 'alive') this.#lastFailure = error
    if (consequence.kind === 'count' || consequence.kind === 'open') this.#outage = error
    switch (consequence.kind) {
      case 'alive':
        this.#circuit.alive()
        break
      case 'count':
        this.#circuit.fail()
        break
      case 'open':
        this.#circuit.trip()
        break
      case 'rest':
        this.#circuit.alive()
        this.#restFor(consequence.forMs, error)
    }
    this.#announce()
  }

  /** Leaves it alone for 10 minutes: bytes that it gave did not match their digest. */
  quarantine(error: UpstreamError): void {
    this.#lastFailure = error
    this.#quarantine = { until: this.#deps.now() + QUARANTINE_MS, error }
    this.#announce()
  }

  /** Ends its timer and its probe. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#closing.abort()
    await this.#probing
  }

  /** What its state is due to. */
  #pause(): Pause | undefined {
    switch (this.state) {
      case 'up':
        return undefined
      case 'open':
        return { until: this.#circuit.openUntil, error: this.#outage }
      case 'limited':
        return this.#rest
      case 'quarantined':
        return this.#quarantine
    }
  }

  #isOn(pause: Pause | undefined): boolean {
    return pause !== undefined && pause.until > this.#deps.now()
  }

  #restFor(ms: number, error: UpstreamError): void {
    const until = this.#deps.now() + ms
    if (!this.#rest || this.#rest.until < until) this.#rest = { until, error }
  }

  #startProbe(): void {
    if (this.#probing || this.#closing.signal.aborted) return
    this.#probing = this.#probe().finally(() => {
      this.#probing = undefined
    })
  }

  async #probe(): Promise<void> {
    try {
      await this.#deps.probe(this.#closing.signal)
      this.#circuit.succeed()
      this.#announce()
    } catch (error) {
      if (this.#closing.signal.aborted) return
      if (error instanceof UpstreamError) this.failed(error)
      else this.#log.error({ err: error }, 'the probe of an upstream failed in an unforeseen way')
    }
  }

  /** Tells a new state, and comes back when time alone will change it. */
  #announce(): void {
    if (this.#closing.signal.aborted) return
    this.#schedule()
    const { state } = this
    if (state === this.#announced) return
    this.#announced = state
    const reason = this.reason ?? 'answers again'
    const { registry, upstream, events } = this.#deps
    if (state === 'up') this.#log.info({ state }, 'upstream is asked again')
    else this.#log.warn({ state, reason, until: this.#untilText() }, 'upstream is left alone for a while')
    events.emit('upstream.state', { registry, upstream, state, reason })
  }

  #untilText(): string | undefined {
    const { until } = this
    return until === undefined ? undefined : new Date(until).toISOString()
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    const now = this.#deps.now()
    const open = this.#circuit.state === 'open' ? this.#circuit.openUntil : 0
    const changes = [open, this.#rest?.until ?? 0, this.#quarantine?.until ?? 0].filter((at) => at > now)
    if (changes.length === 0) return
    this.#timer = setTimeout(() => this.usable(), Math.min(...changes) - now + 1)
    this.#timer.unref()
  }
}
