import { EventLoopLoad } from '../lib/event-loop-load.js'
import type { BlobBytes, BlobSource } from './blob-source.js'
import type { Contributions } from './contributions.js'
import type { RunningDigest } from './running-digest.js'
import { type Claim, Segments } from './segments.js'
import type { Spool } from './spool.js'

export interface SegmentOptions {
  /** Of one segment, bytes. */
  size: number
  /** A blob below this comes in one stream. */
  minBlob: number
}

export interface DownloadDeps {
  source: BlobSource
  spool: Spool
  hash: RunningDigest
  /** Told who gave what. */
  contributions: Contributions
  segments: SegmentOptions
  signal: AbortSignal
  /** Where readers are, and whether they wait for bytes there. */
  positions: () => readonly Position[]
  /** A stream has begun. @returns false when what is held cannot be a part of what this upstream has, and was cleared */
  begun: (stream: BlobBytes) => Promise<boolean>
  /** Bytes have come; resolves when more may. */
  arrived: () => Promise<void>
}

export interface Position {
  position: number
  waiting: boolean
}

/** So much is worth no further stream. */
const SOON_MS = 500
/** From this share of its time on this process counts as busy. */
const BUSY = 0.85
/** How often it is looked after streams that stand still and readers who wait; at most twice as often when asked to. */
const LOOK_EVERY_MS = 50

/** A stream that is being read. */
interface Running {
  claim: Claim
  stream: BlobBytes
}

/**
 * Brings what is missing of a blob from its source into the spool. One stream runs until the end, changing its upstream
 * as often as it must; as long as that would take too long, others run beside it and take segments from it, or
 * fetch first what a reader waits for.
 */
export class Download {
  readonly #deps: DownloadDeps
  readonly #segments: Segments
  readonly #running = new Set<Running>()
  readonly #helpers = new Set<Promise<void>>()
  #failure: { error: unknown } | undefined
  #ended = false
  #lookedAt = 0
  readonly #load = new EventLoopLoad()

  constructor(deps: DownloadDeps) {
    this.#deps = deps
    this.#segments = new Segments({
      held: deps.spool.held,
      segmentBytes: deps.segments.size,
      now: () => performance.now(),
    })
  }

  /** Resolves when every byte is held. @param from where to begin, if that is missing. @throws what the source throws */
  async run(from: number): Promise<void> {
    this.#ended = false
    const looking = setInterval(() => this.#look(), LOOK_EVERY_MS)
    try {
      let claim = this.#firstClaim(from)
      while (!this.#isWhole()) {
        if (claim) await this.#fetch(claim, () => this.#next(claim!))
        else await this.#oneHelperLess()
        if (this.#failure) throw this.#failure.error
        claim = this.#isWhole() ? undefined : this.#work()
      }
    } finally {
      clearInterval(looking)
      this.#ended = true
      this.#endOthers()
      await Promise.all(this.#helpers)
    }
  }

  /** How large the blob is; infinity while nobody has said so. */
  set size(bytes: number) {
    this.#segments.size = bytes
  }

  /** Ends every stream that runs. */
  destroy(): void {
    for (const { stream } of this.#running) stream.destroy()
  }

  /** A reader has begun to wait. */
  look(): void {
    if (performance.now() - this.#lookedAt > LOOK_EVERY_MS / 2) this.#look()
  }

  /** Looks who stands still and who waits, and whether one more stream pays. */
  #look(): void {
    if (!this.#isSegmented()) return
    this.#lookedAt = performance.now()
    for (const position of this.#waitingAt()) this.#serve(position)
    // Where this process is what holds things up, more streams make it no quicker.
    if (this.#load.lately() > BUSY) return
    for (const { claim, stream } of this.#running) {
      if (this.#segments.isSilent(claim) && this.#deps.source.spare(stream.upstream)) this.#relieve({ claim, stream })
    }
    this.#spread()
  }

  #isWhole(): boolean {
    return this.#deps.spool.held.size >= this.#segments.size
  }

  /** Whether several streams may run: where they can be put down in any order, and it is worth it. */
  #isSegmented(): boolean {
    const { spool, segments } = this.#deps
    const { size } = this.#segments
    return !this.#ended && spool.keeps && size >= segments.minBlob && size < Number.POSITIVE_INFINITY
  }

  /** A part to begin with, unless the whole will be here soon: a stream that has to be broken off has sent more than was needed. */
  #firstClaim(from: number): Claim | undefined {
    const { source, spool, segments } = this.#deps
    const { sizeBytes = 0 } = source
    const isSlow = sizeBytes >= segments.minBlob && !(source.usualMs(sizeBytes) <= SOON_MS)
    return isSlow && spool.keeps ? this.#segments.claimFrom(from) : this.#segments.claimRest(from)
  }

  /** What the one stream that runs until the end does next; nothing while others have all that is left. */
  #work(): Claim | undefined {
    if (!this.#isSegmented()) return this.#segments.claimRest(this.#deps.spool.held.endAt(0))
    const wanted = this.#waitingAt().find((position) => this.#isLate(position))
    const waited = wanted === undefined ? undefined : this.#segments.claimAt(wanted)
    if (waited) return waited
    const alone = this.#helpers.size === 0 && this.#segments.remainingMs <= SOON_MS
    return alone ? this.#segments.claimRest(0) : (this.#segments.claimSegment() ?? this.#segments.claimHalf()?.claim)
  }

  /** Starts streams beside those that run, as long as it pays. */
  #spread(): void {
    while (this.#deps.source.spare() && this.#segments.remainingMs > SOON_MS) {
      const claim = this.#segments.claimSegment() ?? this.#segments.claimHalf()?.claim
      if (!claim) return
      this.#help(claim)
    }
  }

  /** Sees that a reader gets what it waits for: in a stream of its own, or in place of what nobody waits for. */
  #serve(position: number): void {
    if (!this.#isLate(position)) return
    if (this.#deps.source.spare()) {
      const claim = this.#segments.claimAt(position)
      if (claim) this.#help(claim)
      return
    }
    // In its place comes what a reader waits for: `#work` looks for that first.
    const useless = [...this.#running].find(({ claim }) => claim.bytes > 0 && !this.#isFollowed(claim))
    if (useless) this.#giveUp(useless)
  }

  #isFollowed(claim: Claim): boolean {
    const { positions, spool } = this.#deps
    return positions().some(({ position }) => this.#segments.holderOf(spool.held.endAt(position)) === claim)
  }

  #waitingAt(): number[] {
    return this.#deps.positions().flatMap(({ position, waiting }) => (waiting ? [position] : []))
  }

  #isLate(position: number): boolean {
    const { held } = this.#deps.spool
    if (held.endAt(position) > position || position >= this.#segments.size) return false
    const holder = this.#segments.holderOf(position)
    return !holder || this.#segments.msUntil(position, holder) > SOON_MS
  }

  /** Gives what a silent stream has not got to another upstream. */
  #relieve({ claim, stream }: Running): void {
    const rest = this.#segments.claimOf(claim)
    stream.outpaced()
    stream.destroy()
    if (rest) this.#help(rest, stream.upstream)
  }

  #giveUp({ claim, stream }: Running): void {
    claim.to = claim.at
    stream.destroy()
  }

  /** @param not the upstream that is not to be asked */
  #help(first: Claim, not?: string): void {
    const helper = this.#helpWith(first, not)
      .catch((error: unknown) => {
        this.#failure ??= { error }
        this.#endOthers()
      })
      .finally(() => {
        this.#helpers.delete(helper)
        this.#look()
      })
    this.#helpers.add(helper)
  }

  async #helpWith(first: Claim, not: string | undefined): Promise<void> {
    const { source, signal } = this.#deps
    let claim: Claim | undefined = first
    for (let other = not; claim; other = undefined) {
      const { at, to } = claim
      const good = await this.#fetch(claim, () => source.beside({ from: at, to, signal, not: other }))
      claim = good && this.#isSegmented() && source.spare() ? this.#work() : undefined
    }
  }

  #next({ at, to }: Claim): Promise<BlobBytes> {
    const end = to < this.#segments.size ? to : undefined
    return this.#deps.source.next(at, end, this.#deps.signal)
  }

  /** Fetches what a claim has, in one stream. @returns whether the stream did what it was to do */
  async #fetch(claim: Claim, open: () => Promise<BlobBytes | undefined>): Promise<boolean> {
    let running: Running | undefined
    try {
      const stream = await open()
      if (!stream) return false
      running = { claim, stream }
      this.#running.add(running)
      this.#segments.begun(claim)
      if (stream.toEnd) this.#segments.extend(claim)
      if (await this.#deps.begun(stream)) await this.#consume(running)
      return true
    } catch (error) {
      this.#deps.signal.throwIfAborted()
      if (error instanceof ContradictionError || !running) throw error
      // Another has its work: it was ended for that, and nobody is at fault.
      if (claim.at >= claim.to) return true
      running.stream.failed(error)
      return false
    } finally {
      this.#segments.release(claim)
      if (running) this.#running.delete(running)
      running?.stream.destroy()
    }
  }

  async #consume(running: Running): Promise<void> {
    const { claim, stream } = running
    const { signal, arrived } = this.#deps
    const { to } = claim
    for await (const chunk of stream.body) {
      signal.throwIfAborted()
      if (claim.at + chunk.length > this.#segments.size)
        throw new ContradictionError(`more bytes came from ${stream.upstream} than it announced`)
      this.#endStrays()
      const left = Math.max(0, claim.to - claim.at)
      this.#put(running, chunk.subarray(0, left))
      await arrived()
      // A stream that ends here by itself is let end: its connection can be used again.
      if (chunk.length > left || (claim.at >= claim.to && claim.to < to)) return
    }
    // It answers for the end as well, even where it had no byte to give.
    this.#deps.contributions.add(stream.upstream, claim.at, 0)
    if (this.#segments.size === Number.POSITIVE_INFINITY) this.#segments.size = claim.at
  }

  #put({ claim, stream }: Running, chunk: Buffer): void {
    if (chunk.length === 0) return
    const { hash, spool, contributions } = this.#deps
    hash.offer(claim.at, chunk)
    spool.append(claim.at, chunk)
    contributions.add(stream.upstream, claim.at, chunk.length)
    this.#segments.arrived(claim, chunk.length)
  }

  /** Where nothing can be put down any more only what follows is of use. */
  #endStrays(): void {
    const { spool } = this.#deps
    if (spool.keeps) return
    const end = spool.held.endAt(0)
    for (const running of this.#running) if (running.claim.at !== end) this.#giveUp(running)
  }

  #endOthers(): void {
    for (const running of this.#running) this.#giveUp(running)
  }

  /** Resolves when a stream beside has ended, or there is none. */
  async #oneHelperLess(): Promise<void> {
    if (this.#helpers.size > 0) await Promise.race(this.#helpers)
  }
}

/** A source broke its promises in a way that asking it again would not mend. */
export class ContradictionError extends Error {
  override readonly name = 'ContradictionError'
}
