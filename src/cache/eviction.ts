import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { BlobRow, MetadataIndex } from '../metadata/metadata-index.js'
import type { HotContent } from './hot-content.js'
import type { PartFolder } from './part-folder.js'

/** Looked up at a time. */
const BATCH = 64
/** Removed at a time; the request path gets its turn in between. */
const TOGETHER = 8

export interface CacheLimits {
  /** What the cache may take on disk, part files included. */
  maxSizeBytes: number
  /** The share of `maxSizeBytes` that is left when a run ends. */
  lowWatermark: number
}

export interface EvictionDeps extends CacheLimits {
  store: BlobStore
  index: MetadataIndex
  parts: PartFolder
  hot: HotContent
  events: EventBus
  log: Logger
  /** Nothing goes before it resolves: what was pushed may not be known as such. It rejects when the server stops. */
  trusted: Promise<void>
}

/** Keeps the cache within its size, the least recently used going first; never what is open, being filled or pushed. */
export class Eviction {
  readonly #deps: EvictionDeps
  readonly #log: Logger
  #limits: CacheLimits
  #running: Promise<void> | undefined
  #again = false
  /** What must go although the limit allows it, in bytes: the disk is full. */
  #owed = 0
  /** How many blobs and part files have gone; others come meanwhile, so the size does not tell it. */
  #gone = 0
  #stopped = false

  constructor(deps: EvictionDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'eviction' })
    this.#limits = deps
    // What was passed over because it was being read may be all that there is to evict.
    deps.store.onReleased = () => this.kick()
  }

  /** What the cache takes now, in bytes. */
  get sizeBytes(): number {
    return this.#deps.index.cacheTotals().sizeBytes + this.#deps.parts.sizeBytes
  }

  get maxSizeBytes(): number {
    return this.#limits.maxSizeBytes
  }

  /** Sets other limits; what is over them goes, off the request path. */
  resize(limits: CacheLimits): void {
    this.#limits = limits
    this.kick()
  }

  /** Looks, off the request path, whether something must go. */
  kick(): void {
    if (this.#stopped || (this.#owed === 0 && this.sizeBytes <= this.maxSizeBytes)) return
    this.#again = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** The disk is full before the cache is: makes room for about `bytes`. */
  relieve(bytes: number): void {
    this.#owed = Math.max(this.#owed, bytes)
    this.kick()
  }

  /**
   * Makes room of about `bytes` now, for what is worth more than what can be fetched again.
   *
   * @returns false when nothing went: also where all of it together would not be enough
   */
  async makeRoom(bytes: number): Promise<boolean> {
    if (this.#stopped || this.sizeBytes < bytes) return false
    const before = this.#gone
    this.relieve(bytes)
    await this.#running
    return this.#gone > before
  }

  /** Waits for the run under way; what `trusted` waits for is to be stopped before. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #run(): Promise<void> {
    try {
      await this.#deps.trusted
    } catch {
      // Told by whoever has stopped it.
      return
    }
    await nextTurn()
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false
        await this.#evictTo(this.#target())
      }
    } catch (error) {
      this.#log.error({ err: error }, 'eviction failed; the cache may outgrow its limit until the next run')
    }
  }

  /** How small the cache must become. */
  #target(): number {
    const { maxSizeBytes, lowWatermark } = this.#limits
    const size = this.sizeBytes
    const owed = this.#owed
    this.#owed = 0
    return Math.min(size > maxSizeBytes ? maxSizeBytes * lowWatermark : size, size - owed)
  }

  async #evictTo(targetBytes: number): Promise<void> {
    const { index, parts } = this.#deps
    const before = this.sizeBytes
    if (before <= targetBytes) return
    let evicted = 0
    const busy = new Set<string>()
    while (this.sizeBytes > targetBytes && !this.#stopped) {
      if ((await parts.removeOldest()) !== undefined) {
        this.#gone++
        continue
      }
      const candidates = index.leastRecentlyUsed(BATCH + busy.size).filter(({ digest }) => !busy.has(digest))
      if (candidates.length === 0) break
      const evictedBefore = evicted
      for (let rest = candidates; rest.length > 0 && this.sizeBytes > targetBytes; ) {
        const group = firstFew(rest, this.sizeBytes - targetBytes)
        rest = rest.slice(group.length)
        const gone = await Promise.all(group.map((row) => this.#evict(row)))
        for (const [at, row] of group.entries()) if (!gone[at]) busy.add(row.digest)
        evicted += gone.filter(Boolean).length
        await nextTurn()
      }
      // As long as something goes, those that were being read get another look: a run can be a long one.
      if (evicted > evictedBefore) busy.clear()
    }
    if (evicted === 0 && busy.size === 0) return
    this.#log.info(
      { beforeBytes: before, afterBytes: this.sizeBytes, maxSizeBytes: this.maxSizeBytes, evicted, inUse: busy.size },
      'cache evicted',
    )
  }

  async #evict({ digest, size }: BlobRow): Promise<boolean> {
    const { store, hot, events } = this.#deps
    if (!(await store.evict(digest))) return false
    this.#gone++
    hot.delete(digest)
    events.emit('blob.evicted', { digest, bytes: size })
    return true
  }
}

/** As many as free `bytes`, but not too many at a time. */
function firstFew(rows: readonly BlobRow[], bytes: number): BlobRow[] {
  const few: BlobRow[] = []
  for (let freed = 0; few.length < Math.min(TOGETHER, rows.length) && freed < bytes; ) {
    const row = rows[few.length]!
    few.push(row)
    freed += row.size
  }
  return few
}
