import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import type { Complaint } from '../lib/complaint.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import type { BlobFacts, OpenBlob, Outcome } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { BlobFill } from './blob-fill.js'
import type { BlobSource } from './blob-source.js'
import { CachedBlobs } from './cached-blobs.js'
import type { Eviction } from './eviction.js'
import type { HotContent } from './hot-content.js'
import type { PartFolder } from './part-folder.js'
import type { SegmentOptions } from './sharing.js'

export interface BlobCacheDeps {
  store: BlobStore
  index: MetadataIndex
  parts: PartFolder
  hot: HotContent
  eviction: Eviction
  events: EventBus
  /** That storage cannot be written. */
  trouble: Complaint
  log: Logger
  /** For a download that begins. */
  segments: () => SegmentOptions
}

interface Asked {
  digest: Digest
  place: string
  source: () => BlobSource
  from: number
}

/** Where a blob came from, as far as is known. */
export interface Whence {
  /** The repository with its registry. */
  place?: string
  /** The upstream's name. */
  source?: string | undefined
}

const UNWRITABLE = 'storage cannot be written: blobs are passed on uncached until it can'

/** A download that is not put away yet. */
interface Running {
  starting: Promise<BlobFill>
  settled: Promise<void>
  /** Where the one who began it asked. */
  place: string
  /** Whether a client has asked for it; until then it runs ahead of them. */
  asked: boolean
}

/** Blobs by digest, each fetched once however many ask at a time, kept until room is needed. */
export class BlobCache {
  readonly #deps: BlobCacheDeps
  readonly #log: Logger
  readonly #cached: CachedBlobs
  readonly #fills = new Map<Digest, Running>()
  /** Downloads that keep nothing, beside those of `#fills`. */
  readonly #passing = new Set<BlobFill>()
  readonly #running = new Set<Promise<void>>()
  #stopping = false

  constructor(deps: BlobCacheDeps) {
    this.#deps = deps
    this.#log = deps.log.child({ module: 'blob-cache' })
    this.#cached = new CachedBlobs(deps)
  }

  /**
   * Opens a blob: from memory, from the store, or behind the one download of it. Where that one fails before there is
   * anything to answer, those who asked at another place than it did try on their own.
   *
   * @param place the repository with its registry
   * @param source called at most once a fill, never on a hit
   * @param from where it will be read first, below 0 from its end: a large blob is fetched from there first
   * @throws what `source` throws when no upstream has it; a failure after that ends the readers
   */
  async open(digest: Digest, place: string, source: () => BlobSource, from = 0): Promise<OpenBlob> {
    // A download under way comes first: until it is put away the store may hold half of the truth.
    const stored = this.#fills.has(digest) ? undefined : await this.#cached.open(digest)
    return stored ?? this.#openFill({ digest, place, source, from })
  }

  /** A blob that is in memory, opened as by `open`. */
  inMemory(digest: Digest): OpenBlob | undefined {
    return this.#fills.has(digest) ? undefined : this.#cached.inMemory(digest)
  }

  /** Whether it is here or on its way. */
  holds(digest: Digest): boolean {
    return this.#fills.has(digest) || this.#cached.find(digest) !== undefined
  }

  /** For which repository a blob is on its way, or which upstream gave the one that is here; `undefined` when neither. */
  whence(digest: Digest): Whence | undefined {
    const running = this.#fills.get(digest)
    if (running) return { place: running.place }
    const cached = this.#cached.find(digest)
    return cached && { source: cached.source }
  }

  /** Downloads that clients have asked for. */
  get clientFills(): number {
    return [...this.#fills.values()].filter(({ asked }) => asked).length + this.#passing.size
  }

  /**
   * Fetches a blob that nobody has asked for yet, unless it is here or on its way; a client that comes meanwhile joins.
   * Resolves when it is put away; what went wrong is logged, and costs the next one who asks nothing.
   */
  async fetchAhead(digest: Digest, place: string, source: () => BlobSource): Promise<void> {
    if (this.#stopping || this.holds(digest)) return
    void this.#start({ digest, place, source, from: 0 }, false)
    await this.#fills.get(digest)?.settled
  }

  /** What is known of a blob that is here or on its way. */
  async stat(digest: Digest): Promise<BlobFacts | undefined> {
    const fill = await this.#fills.get(digest)?.starting
    if (fill?.size !== undefined)
      return { digest, size: fill.size, outcome: outcomeBehind(fill), source: fill.upstream }
    return this.#cached.stat(digest)
  }

  /** Ends the downloads, keeping their part files, and waits until each is put away. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const { starting } of this.#fills.values()) void starting.then((fill) => fill.stop())
    for (const fill of this.#passing) fill.stop()
    await Promise.all(this.#running)
  }

  async #openFill(asked: Asked): Promise<OpenBlob> {
    const { digest, place, source, from } = asked
    const running = this.#fills.get(digest)
    if (!running) return this.#follow(await this.#start(asked, true), 'miss')
    running.asked = true
    const fill = await running.starting
    if (!fill.failed && !fill.released) {
      if (!fill.joinable) return this.#passOn(digest, source())
      try {
        return await this.#follow(fill, outcomeBehind(fill))
      } catch (error) {
        if (running.place === place) throw error
      }
    }
    // It has told everybody who followed it: when its part file is put away, either the blob is here or the next one begins.
    await running.settled
    return this.open(digest, place, source, from)
  }

  /** Beside a download that keeps nothing and has gone too far to be joined. */
  async #passOn(digest: Digest, source: BlobSource): Promise<OpenBlob> {
    const segments = this.#deps.segments()
    const fill = await BlobFill.start({ digest, source, segments, path: undefined, admit: () => false })
    this.#passing.add(fill)
    this.#track(
      this.#settled(fill).finally(() => {
        source.close()
        this.#passing.delete(fill)
        this.#deps.events.emit('blob.settled', { digest })
      }),
    )
    return this.#follow(fill, 'miss')
  }

  async #follow(fill: BlobFill, outcome: Outcome): Promise<OpenBlob> {
    const reader = fill.reader()
    try {
      await fill.ready
    } catch (error) {
      await reader.close()
      throw error
    }
    return { digest: fill.digest, size: fill.size, outcome, source: fill.upstream, reader }
  }

  #start({ digest, place, source, from }: Asked, asked: boolean): Promise<BlobFill> {
    const { parts, eviction } = this.#deps
    if (this.#stopping) throw new OciError('UNAVAILABLE', 'the server is stopping')
    const admit = (sizeBytes: number) => {
      if (sizeBytes > eviction.maxSizeBytes) return false
      parts.resize(digest, sizeBytes)
      eviction.kick()
      return true
    }
    const opened = source()
    parts.begin(digest)
    const segments = this.#deps.segments()
    const starting = BlobFill.start({ digest, source: opened, segments, path: parts.path(digest), admit, from })
    const published = this.#publish(digest, starting).finally(() => opened.close())
    this.#fills.set(digest, { starting, settled: this.#track(published), place, asked })
    return starting
  }

  /** Moves a finished fill into the store; readers that came while it ran read on from the file that they have open. */
  async #publish(digest: Digest, starting: Promise<BlobFill>): Promise<void> {
    const { store, parts, eviction, events } = this.#deps
    let fill: BlobFill | undefined
    try {
      fill = await starting
      await this.#settled(fill, async (finished) => {
        if (!finished.file) return finished.removeFile()
        const blob = { digest, size: finished.received, manifest: false, source: finished.upstream }
        // From here on it counts as stored, not as being filled: never as both.
        parts.resize(digest, 0)
        await store.adopt(finished.file, blob, 'cached')
        this.#deps.trouble.over()
        events.emit('blob.filled', { digest, bytes: blob.size, source: blob.source })
        this.#log.info({ digest, bytes: blob.size, upstream: blob.source }, 'blob cached')
      })
    } finally {
      this.#fills.delete(digest)
      events.emit('blob.settled', { digest })
      await parts.end(digest)
      eviction.kick()
    }
  }

  /** Waits for the end of a fill, does what follows a good one, and lets go of it. */
  async #settled(fill: BlobFill, publish: (fill: BlobFill) => Promise<void> = async () => {}): Promise<void> {
    const { digest } = fill
    try {
      await fill.done
      await publish(fill)
      if (fill.spoolFailure) this.#unkept(fill)
    } catch (error) {
      if (fill.spoolFailure) this.#unkept(fill)
      if (!this.#stopping) this.#log.warn({ digest, receivedBytes: fill.received, err: error }, 'blob not cached')
    } finally {
      await fill.release()
    }
  }

  #unkept({ digest, size = 0, spoolFailure }: BlobFill): void {
    const { code, message } = spoolFailure as NodeJS.ErrnoException
    const level = this.#deps.trouble.raise() ? 'warn' : 'debug'
    this.#log[level]({ digest, reason: message }, UNWRITABLE)
    const full = code === 'ENOSPC' || code === 'EDQUOT'
    // Where giving up everything would not make enough room, nothing is given up.
    if (full && size <= this.#deps.index.cacheTotals().sizeBytes) this.#deps.eviction.relieve(size)
  }

  #track(work: Promise<void>): Promise<void> {
    const tracked = work.catch((error: unknown) => this.#log.error({ err: error }, 'putting a blob away failed'))
    this.#running.add(tracked)
    void tracked.finally(() => this.#running.delete(tracked))
    return tracked
  }
}

/** Behind a download that has ended and will be put away there is nothing to wait for. */
function outcomeBehind(fill: BlobFill): Outcome {
  return fill.verified && fill.file ? 'hit' : 'join'
}
