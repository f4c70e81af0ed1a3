import type { Logger } from 'pino'
import type { EventBus, Events } from '../events.js'
import { documentOf, type IsShown, type Present, type StatsDocument } from './document.js'
import { StoredTally, type ValueStore } from './stored-tally.js'
import { type Tally, type UpstreamCounts, upstreamKey } from './tally.js'
import { Timeline } from './timeline.js'

export interface StatisticsDeps {
  events: EventBus
  /** Where totals and windows survive a restart. */
  store: ValueStore
  /** What is here now; asked when a document is made. */
  cache: () => Present['cache']
  local: () => Present['local']
  gc: () => Present['gc']
  /** Of every registry, in the order of the configuration; also asked every few seconds. */
  upstreams: () => Present['upstreams']
  log: Logger
  now: () => number
}

const SAVE_INTERVAL_MS = 5_000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
/** An hour, and seven days, each with the bucket that is being filled. */
const MINUTES = 61
const HOURS = 7 * 24 + 1
/** Repository names kept in the totals, and in one bucket. */
const TOTAL_NAMES = 10_000
const BUCKET_NAMES = 500

/**
 * Counts what the mirror does, by listening. Totals and windows survive a restart; a crash loses the last
 * seconds. A request counts when its content is read through from a registry: pushed content has none.
 */
export class Statistics {
  readonly #deps: StatisticsDeps
  readonly #log: Logger
  readonly #startedAt: number
  readonly #total: StoredTally
  /** Finest first. */
  readonly #timelines: readonly Timeline[]
  /** What each upstream's own counts were when they were last added here. */
  readonly #seen = new Map<string, UpstreamCounts>()
  #timer: NodeJS.Timeout | undefined
  #saveFails = false

  /** Reads what an earlier process left; counts nothing before `start`. */
  constructor(deps: StatisticsDeps) {
    const { store, now } = deps
    this.#deps = deps
    this.#log = deps.log.child({ module: 'statistics' })
    this.#startedAt = now()
    const kept = { store, log: this.#log }
    this.#total = StoredTally.load({ ...kept, name: 'stats.total', namesLimit: TOTAL_NAMES }, this.#startedAt)
    const bucket = { ...kept, namesLimit: BUCKET_NAMES }
    this.#timelines = [
      new Timeline({ ...bucket, name: 'stats.minute', bucketMs: MINUTE_MS, buckets: MINUTES }),
      new Timeline({ ...bucket, name: 'stats.hour', bucketMs: HOUR_MS, buckets: HOURS }),
    ]
  }

  start(): void {
    this.#listen()
    this.#timer = setInterval(() => this.#save(), SAVE_INTERVAL_MS)
    this.#timer.unref()
  }

  /** Writes what is not written yet. */
  stop(): void {
    clearInterval(this.#timer)
    this.#save()
  }

  /**
   * The answer to `/stats`: since the totals began, or over the last `windowMs` (at most seven days). A window
   * begins with the minute, beyond an hour with the full hour, that holds its start.
   *
   * @param isShown all repositories are where it is left out
   */
  snapshot(windowMs?: number, isShown: IsShown = () => true): StatsDocument {
    const { cache, local, upstreams, gc, now } = this.#deps
    this.#countUpstreams()
    const span = windowMs === undefined ? this.#total : this.#window(windowMs)
    const present = { cache: cache(), local: local(), upstreams: upstreams(), gc: gc() }
    return documentOf(span, present, { uptimeMs: now() - this.#startedAt, isShown })
  }

  #window(windowMs: number): { since: number; tally: Tally } {
    const now = this.#deps.now()
    const timeline = this.#timelines.find(({ reachMs }) => reachMs >= windowMs) ?? this.#timelines.at(-1)!
    const { since, tally } = timeline.sum(now - windowMs, now)
    return { since: Math.max(since, this.#total.since), tally }
  }

  #listen(): void {
    const { events } = this.#deps
    events.on('content.served', (served) => {
      if (served.outcome !== 'local') this.#answered(served, served.outcome)
    })
    events.on('content.failed', (failed) => this.#answered(failed, 'error'))
    events.on('upstream.received', ({ registry, bytes }) => this.#record((tally) => tally.received(registry, bytes)))
    events.on('tag.diverged', ({ registry }) => {
      if (registry !== undefined) this.#record((tally) => tally.diverged(registry))
    })
    events.on('blob.filled', () => this.#record((tally) => tally.filled()))
    events.on('blob.evicted', ({ bytes }) => this.#record((tally) => tally.evicted(bytes)))
    events.on('blob.pushed', ({ bytes, mounted }) =>
      this.#record((tally) => tally.pushed('blobs', mounted ? 0 : bytes)),
    )
    events.on('manifest.pushed', ({ bytes }) => this.#record((tally) => tally.pushed('manifests', bytes)))
    for (const name of ['tag.deleted', 'manifest.deleted', 'blob.deleted'] as const)
      events.on(name, () => this.#record((tally) => tally.deleted()))
  }

  #answered(
    { registry, repository, bytes }: Pick<Events['content.failed'], 'registry' | 'repository' | 'bytes'>,
    outcome: 'hit' | 'join' | 'miss' | 'stale' | 'error',
  ): void {
    if (registry !== undefined) this.#record((tally) => tally.answered({ registry, repository, outcome, bytes }))
  }

  #record(change: (tally: Tally) => void): void {
    const now = this.#deps.now()
    this.#total.record(change)
    for (const timeline of this.#timelines) timeline.record(now, change)
  }

  /** An upstream counts for itself, since the process started: what is new since the last look is added. */
  #countUpstreams(): void {
    for (const upstream of this.#deps.upstreams()) {
      const key = upstreamKey(upstream)
      const { requests, errors, bytes } = upstream
      const more = increase({ requests, errors, bytes }, this.#seen.get(key))
      this.#seen.set(key, { requests, errors, bytes })
      if (more.requests + more.errors + more.bytes > 0) this.#record((tally) => tally.asked(key, more))
    }
  }

  #save(): void {
    try {
      this.#countUpstreams()
      this.#total.save()
      for (const timeline of this.#timelines) timeline.save()
      this.#saveFails = false
    } catch (error) {
      // Said once, not every few seconds; what was counted stays in memory and is written when it can be.
      if (!this.#saveFails) this.#log.warn({ reason: (error as Error).message }, 'statistics cannot be saved')
      this.#saveFails = true
    }
  }
}

/** Counts that went down have begun again at 0. */
function increase(now: UpstreamCounts, before: UpstreamCounts | undefined): UpstreamCounts {
  if (!before || now.requests < before.requests) return now
  return {
    requests: now.requests - before.requests,
    errors: now.errors - before.errors,
    bytes: now.bytes - before.bytes,
  }
}
