import { setMaxListeners } from 'node:events'
import { EventLoopLoad } from '../lib/event-loop-load.js'
import type { BlobReader } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { Backpressure } from './backpressure.js'
import { type BlobBytes, type BlobSource, ContradictionError } from './blob-source.js'
import { Contributions } from './contributions.js'
import { Disclosure } from './disclosure.js'
import { Download } from './download.js'
import { FillReaders } from './fill-readers.js'
import { RunningDigest } from './running-digest.js'
import type { SegmentOptions } from './sharing.js'
import { Spool } from './spool.js'
import { Suspicion } from './suspicion.js'

export interface BlobFillOptions {
  digest: Digest
  source: BlobSource
  segments: SegmentOptions
  /** Whether a blob of this size is to be kept; asked before its first byte is, or as it grows where no size is known. */
  admit: (sizeBytes: number) => boolean
  /** Where the first reader begins, below 0 from the end: a large blob is fetched from there first. */
  from?: number | undefined
}

/**
 * One download of one blob: any number of readers follow it, each at its own pace, from any position, joining at any
 * time before `release`. It goes on without them. The digest runs along, over a change of upstream and over a restart
 * of the process; no reader gets the last byte before it has matched.
 */
export class BlobFill {
  readonly digest: Digest
  /** Resolves when there is something to answer: the size, or for a small blob all of it, checked; rejects when no upstream has it. */
  readonly ready: Promise<void>
  /** Resolves when every byte is here and the digest has matched; rejects when that cannot be. */
  readonly done: Promise<void>
  readonly #admit: (sizeBytes: number) => boolean
  readonly #spool: Spool
  readonly #hash: RunningDigest
  readonly #readers: FillReaders
  readonly #download: Download
  readonly #backpressure: Backpressure
  readonly #contributions = new Contributions()
  readonly #suspicion: Suspicion
  readonly #disclosure = new Disclosure({ onHurried: () => this.#readers.wake() })
  readonly #abort = new AbortController()
  /** The first bytes came from an earlier process, whose upstreams nobody knows any more. */
  #inherited = false
  #size: number | undefined
  /** What it was before all was thrown away. */
  #formerSize: number | undefined
  #upstream: string | undefined
  #state: 'filling' | 'verified' | 'failed' = 'filling'
  #failure: unknown
  #users = 1

  /** Begins, continuing what is in the part file at `path`; without one the bytes are only passed on. */
  static async start({ path, ...options }: BlobFillOptions & { path: string | undefined }): Promise<BlobFill> {
    const spool = path === undefined ? Spool.unkept() : await Spool.open(path)
    const fill = new BlobFill(options, spool)
    spool.onGrown = () => fill.#grown()
    return fill
  }

  private constructor({ digest, source, segments, admit, from = 0 }: BlobFillOptions, spool: Spool) {
    this.digest = digest
    this.#spool = spool
    this.#admit = admit
    this.#hash = new RunningDigest(digest)
    this.#suspicion = new Suspicion({ source, spool, contributions: this.#contributions })
    this.#readers = new FillReaders({
      readableAt: (position) => this.#readableAt(position),
      read: (buffer, position) => spool.read(buffer, position),
      end: () => this.#end(),
      onWaiting: () => this.#download.look(),
      onClosed: () => this.release(),
    })
    this.#backpressure = new Backpressure({ spool, hash: this.#hash, readers: this.#readers, abort: this.#abort })
    const load = new EventLoopLoad()
    this.#download = new Download({
      source,
      spool,
      hash: this.#hash,
      contributions: this.#contributions,
      segments,
      signal: this.#abort.signal,
      positions: () => this.#readers.positions,
      begun: (stream) => this.#begin(stream),
      arrived: () => this.#arrived(),
      now: () => performance.now(),
      load: () => load.lately(),
    })
    // Each stream of a large blob listens, and all at once are no leak.
    setMaxListeners(0, this.#abort.signal)
    const { sizeBytes = 0 } = source
    const start = from < 0 ? Math.max(0, sizeBytes + from) : from
    this.done = this.#run(sizeBytes >= segments.minBlob ? start : 0)
    this.ready = Promise.race([this.#disclosure.known, this.done])
    // Whoever needs to know awaits them; with nobody left a failure is still logged by the cache.
    this.ready.catch(() => {})
  }

  get size(): number | undefined {
    return this.#size
  }

  /** The upstream that the bytes are coming from. */
  get upstream(): string | undefined {
    return this.#upstream
  }

  /** Bytes that have arrived. */
  get received(): number {
    return this.#spool.held.size
  }

  /** Whether every byte is here and has been checked. */
  get verified(): boolean {
    return this.#state === 'verified'
  }

  get failed(): boolean {
    return this.#state === 'failed'
  }

  /** Whether the last word on it was said: its file is closed, and nobody can read it any more. */
  get released(): boolean {
    return this.#users === 0
  }

  /** Whether a reader that begins at byte 0 now will find it. */
  get joinable(): boolean {
    return this.#spool.isWhole
  }

  /** The finished part file to publish; `undefined` when the blob was only passed on. */
  get file(): string | undefined {
    return this.#spool.keeps ? this.#spool.path : undefined
  }

  /** Why the blob is not kept, when something is wrong with the disk. */
  get spoolFailure(): unknown {
    return this.#spool.reason
  }

  /** A reader from any position on; the caller closes it. */
  reader(): BlobReader {
    this.#users++
    return this.#readers.open()
  }

  /** Ends the download; the part file is kept for the next one. */
  stop(): void {
    this.#abort.abort(new Error('the server is stopping'))
    this.#download.destroy()
    this.#readers.wake()
  }

  /** The starter's last word: readers that are open keep the file open until they close. */
  async release(): Promise<void> {
    this.#users--
    if (this.#users === 0) await this.#spool.close()
  }

  /** Removes the part file; readers that are open keep what they have open. */
  removeFile(): Promise<void> {
    return this.#spool.remove()
  }

  #end(): { size: number } | { failure: unknown } | undefined {
    if (this.#state === 'failed') return { failure: this.#failure }
    return this.#state === 'verified' ? { size: this.received } : undefined
  }

  #grown(): void {
    this.#readers.wake()
    // Whoever needs all of it awaits this again, and is told then what went wrong.
    this.#hash.follow(this.#spool).catch(() => {})
  }

  /** Up to the last byte while the digest is not known to match; nothing where it is checked first. */
  #readableAt(position: number): number {
    const readable = this.#spool.readableTo(position)
    if (this.#state === 'verified') return readable - position
    if (this.#disclosure.holdsBack(this.#size, this.#spool.keeps)) return 0
    const end = this.#size ?? this.#spool.held.endAt(0)
    return Math.min(readable, end - 1) - position
  }

  async #run(from: number): Promise<void> {
    try {
      await this.#hash.follow(this.#spool)
      this.#inherited = this.received > 0
      while (!this.#matches()) {
        await this.#receive(from)
        if (this.#matches()) break
        await this.#restart()
      }
      this.#size = this.received
      await this.#suspicion.expose()
      await this.#spool.sealed()
      this.#state = 'verified'
      this.#disclosure.tell()
    } catch (error) {
      this.#state = 'failed'
      this.#failure = error
      // The next one begins while readers still have the file open.
      await this.#spool.settled()
      throw error
    } finally {
      this.#disclosure.end()
      this.#readers.wake()
    }
  }

  #matches(): boolean {
    const { bytes } = this.#hash
    return bytes === this.received && (this.#size === undefined || bytes === this.#size) && this.#hash.matches()
  }

  /** Downloads all that is missing; once more what could not be written at the end. */
  async #receive(from: number): Promise<void> {
    do {
      await this.#download.run(from)
      await this.#spool.drained()
      await this.#hash.follow(this.#spool)
    } while (this.#hash.bytes < this.received || (this.#size !== undefined && this.received < this.#size))
  }

  /** @returns false when what is here cannot be a beginning of what this upstream has, and was cleared */
  async #begin(stream: BlobBytes): Promise<boolean> {
    this.#upstream = stream.upstream
    if (stream.size !== undefined && this.received > stream.size) {
      await this.#clear()
      return false
    }
    const promised = this.received === 0 ? (this.#size ?? this.#formerSize) : undefined
    this.#formerSize = undefined
    // After a lie about the length: whoever was promised that many bytes cannot be given these.
    if (promised !== undefined && stream.size !== promised && this.#disclosure.told) this.#readers.cut('all')
    if (stream.size !== undefined && stream.size !== this.#size) await this.#resize(stream.size)
    if (this.#size !== undefined) this.#download.size = this.#size
    this.#disclosure.begin(this.#size, this.#spool.keeps)
    return true
  }

  async #resize(size: number): Promise<void> {
    if (this.#size !== undefined && this.received > 0)
      throw new ContradictionError(`the blob has ${size} bytes at ${this.#upstream} and ${this.#size} elsewhere`)
    this.#size = size
    await this.#keepIfAdmitted(size)
  }

  async #keepIfAdmitted(size: number): Promise<void> {
    if (!this.#spool.keeps || this.#admit(size)) return
    // What is being written at this moment is neither in the file nor in the window.
    await this.#spool.drained()
    this.#spool.stopKeeping(undefined)
  }

  async #arrived(): Promise<void> {
    // Nobody has said how large it gets: it may have grown too large by now.
    if (this.#size === undefined) await this.#keepIfAdmitted(this.received)
    await this.#backpressure.relieved()
  }

  /**
   * The whole did not match: whoever has seen some of it is cut off; everybody else, and the one who was cut off and
   * asks again, waits for the next try to be checked.
   */
  async #restart(): Promise<void> {
    this.#disclosure.lied()
    // With a beginning of unknown origin nobody who contributed to the rest can be blamed.
    if (!this.#inherited) await this.#suspicion.blame()
    await this.#clear()
    // Only now: somebody may have begun to read while the bytes were being thrown away.
    this.#readers.cut('started')
  }

  async #clear(): Promise<void> {
    await this.#spool.drained()
    this.#download.size = Number.POSITIVE_INFINITY
    this.#formerSize = this.#size
    this.#size = undefined
    await this.#spool.clear()
    // Not before there is nothing to read: a write that ends has it read on.
    await this.#hash.reset()
    this.#contributions.clear()
    this.#inherited = false
  }
}
