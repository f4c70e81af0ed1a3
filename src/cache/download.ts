import { type BlobBytes, type BlobSource, ContradictionError } from './blob-source.js'
import { ClaimStream, ClaimStreams } from './claim-stream.js'
import type { Contributions } from './contributions.js'
import { Demand, type Position } from './demand.js'
import type { RunningDigest } from './running-digest.js'
import { type Claim, Segments } from './segments.js'
import { type SegmentOptions, Sharing, SOON_MS } from './sharing.js'
import type { Spool } from './spool.js'

export interface DownloadDeps {
  source: BlobSource
  spool: Spool
  hash: RunningDigest
  /** Told who gave what. */
  contributions: Contributions
  segments: SegmentOptions
  signal: AbortSignal
  /** Where readers are (demand.ts). */
  positions: () => readonly Position[]
  /** A stream has begun. @returns false when what is held cannot be a part of what this upstream has, and was cleared */
  begun: (stream: BlobBytes) => Promise<boolean>
  /** Bytes have come; resolves when more may. */
  arrived: () => Promise<void>
  /** Milliseconds, of a clock that is never set. */
  now: () => number
  /** How busy this process was since it was asked last, from 0 to 1. */
  load: () => number
}

/** How often it is looked after streams that stand still and readers who wait; at most twice as often when asked to. */
const LOOK_EVERY_MS = 50

/**
 * Brings what is missing of a blob from its source into the spool. One stream runs until the end, changing its upstream
 * as often as it must; as long as that would take too long, others run beside it and take segments from it, or
 * fetch first what a reader waits for.
 */
export class Download {
  readonly #deps: DownloadDeps
  readonly #segments: Segments
  readonly #sharing: Sharing
  readonly #demand: Demand
  readonly #streams = new ClaimStreams()
  readonly #helpers = new Set<Promise<void>>()
  #failure: { error: unknown } | undefined
  #ended = false
  #lookedAt = 0

  constructor(deps: DownloadDeps) {
    this.#deps = deps
    const { spool, segments: options, now, load, positions } = deps
    const { held } = spool
    const segments = new Segments({ held, segmentBytes: options.size, now })
    this.#segments = segments
    this.#sharing = new Sharing({ segments, spool, options, load })
    this.#demand = new Demand({ positions, held, segments, soonMs: SOON_MS })
  }

  /** Resolves when every byte is held. @param from where to begin, if that is missing. @throws what the source throws */
  async run(from: number): Promise<void> {
    this.#ended = false
    this.#failure = undefined
    const looking = setInterval(() => this.#look(), LOOK_EVERY_MS)
    try {
      let claim = this.#firstClaim(from)
      while (!this.#isWhole()) {
        if (claim) await this.#fetch(claim)
        else await this.#oneHelperLess()
        this.#throwIfHelperFailed()
        claim = this.#isWhole() ? undefined : this.#work()
      }
    } finally {
      clearInterval(looking)
      this.#ended = true
      this.#streams.giveUp()
      await Promise.all(this.#helpers)
    }
  }

  /** How large the blob is; infinity while nobody has said so. */
  set size(bytes: number) {
    this.#segments.size = bytes
  }

  /** Ends every stream. */
  destroy(): void {
    this.#streams.destroy()
  }

  /** A reader has begun to wait. */
  look(): void {
    if (this.#deps.now() - this.#lookedAt > LOOK_EVERY_MS / 2) this.#look()
  }

  /** Looks who stands still and who waits, and whether one more stream pays. */
  #look(): void {
    const { spool } = this.#deps
    if (!spool.keeps) this.#streams.giveUpAllBut(spool.held.endAt(0))
    if (!this.#isSegmented()) return
    this.#lookedAt = this.#deps.now()
    this.#serve()
    if (this.#sharing.isBusy()) return
    for (const stream of this.#streams) this.#relieve(stream)
    this.#spread()
  }

  #isWhole(): boolean {
    return this.#deps.spool.held.size >= this.#segments.size
  }

  /** Whether several streams may run. */
  #isSegmented(): boolean {
    return !this.#ended && this.#sharing.isPossible
  }

  #firstClaim(from: number): Claim | undefined {
    const { source, spool } = this.#deps
    if (!spool.keeps) return this.#segments.claimRest(spool.held.endAt(0))
    const withPart = this.#sharing.beginsWithPart(source)
    return withPart ? this.#segments.claimFrom(from) : this.#segments.claimRest(from)
  }

  /** What the one stream that runs until the end does next; nothing while others have all that is left. */
  #work(): Claim | undefined {
    const { spool } = this.#deps
    // What follows the beginning may still be another's, and nothing else is of use.
    if (!spool.keeps && this.#helpers.size > 0) return undefined
    if (!this.#isSegmented()) return this.#segments.claimRest(spool.held.endAt(0))
    const wanted = this.#demand.late
    const waited = wanted === undefined ? undefined : this.#segments.claimAt(wanted)
    if (waited) return waited
    const alone = this.#helpers.size === 0 && !this.#sharing.pays
    return alone ? this.#segments.claimRest(0) : (this.#segments.claimSegment() ?? this.#segments.claimHalf()?.claim)
  }

  /** Starts streams beside those that run, as long as it pays. */
  #spread(): void {
    for (;;) {
      const upstream = this.#deps.source.spare()
      if (upstream === undefined || !this.#sharing.pays) return
      const claim = this.#segments.claimSegment() ?? this.#segments.claimHalf()?.claim
      if (!claim) return
      this.#help(claim, upstream)
    }
  }

  /** Sees that readers get what they wait for: in a stream of its own, or in place of what nobody waits for. */
  #serve(): void {
    let useless: ClaimStream[] | undefined
    for (const position of this.#demand.waiting) {
      if (!this.#demand.isLate(position)) continue
      const upstream = this.#deps.source.spare()
      if (upstream === undefined) {
        // In its place comes what a reader waits for: `#work` looks for that first.
        useless ??= this.#demand.unwanted(this.#streams)
        const stream = useless.pop()
        if (!stream) return
        stream.giveUp()
      } else {
        const claim = this.#segments.claimAt(position)
        if (claim) this.#help(claim, upstream)
      }
    }
  }

  /** Gives what a silent stream has not got to another upstream. */
  #relieve(stream: ClaimStream): void {
    const { source } = this.#deps
    const { claim, upstream } = stream
    if (upstream === undefined || stream.isOver || !this.#segments.isSilent(claim)) return
    const other = source.spare(upstream)
    if (other === undefined) return
    source.outpaced(upstream)
    const rest = this.#segments.claimOf(claim)
    stream.giveUp()
    if (rest) this.#help(rest, other)
  }

  #help(first: Claim, upstream: string): void {
    const helper = this.#helpWith(first, upstream)
      .catch((error: unknown) => {
        this.#failure ??= { error }
        this.#streams.giveUp()
      })
      .finally(() => {
        this.#helpers.delete(helper)
        this.#look()
      })
    this.#helpers.add(helper)
  }

  async #helpWith(first: Claim, asked: string): Promise<void> {
    let claim: Claim | undefined = first
    let upstream: string | undefined = asked
    while (claim && upstream !== undefined) {
      const good: boolean = await this.#fetch(claim, upstream)
      upstream = good && this.#isSegmented() ? this.#deps.source.spare() : undefined
      claim = upstream === undefined ? undefined : this.#work()
    }
  }

  #open({ signal }: ClaimStream, { at, to }: Claim, upstream: string | undefined): Promise<BlobBytes | undefined> {
    const { source } = this.#deps
    if (upstream !== undefined) return source.beside({ from: at, to, upstream, signal })
    return source.next(at, to < this.#segments.size ? to : undefined, signal)
  }

  /**
   * Fetches what a claim has, in one stream.
   *
   * @param upstream who is to give it beside the one that runs until the end, which this is when left out
   * @returns whether the stream did what it was to do
   */
  async #fetch(claim: Claim, upstream?: string): Promise<boolean> {
    const stream = new ClaimStream({ claim, asked: upstream, signal: this.#deps.signal })
    this.#streams.add(stream)
    try {
      const bytes = await this.#open(stream, claim, upstream)
      if (!bytes) return false
      stream.bytes = bytes
      this.#segments.begun(claim)
      if (bytes.toEnd && !stream.isOver) this.#segments.extend(claim)
      if (await this.#deps.begun(bytes)) await this.#consume(stream, bytes)
      return true
    } catch (error) {
      this.#deps.signal.throwIfAborted()
      if (error instanceof ContradictionError) throw error
      // Another has its work: it was ended for that, and nobody is at fault.
      if (stream.isOver) return true
      if (!stream.bytes) throw error
      stream.bytes.failed(error)
      return false
    } finally {
      this.#segments.release(claim)
      this.#streams.delete(stream)
      stream.destroy()
    }
  }

  async #consume(stream: ClaimStream, { body, upstream, toEnd }: BlobBytes): Promise<void> {
    const { claim } = stream
    const { signal, arrived, contributions, spool } = this.#deps
    for await (const chunk of body) {
      signal.throwIfAborted()
      if (claim.at + chunk.length > this.#segments.size)
        throw new ContradictionError(`more bytes came from ${upstream} than it announced`)
      if (!spool.keeps) this.#streams.giveUpAllBut(spool.held.endAt(0))
      const left = Math.max(0, claim.to - claim.at)
      this.#put(claim, chunk.subarray(0, left), upstream)
      await arrived()
      this.#segments.awaited(claim)
      // A stream that ends here by itself is let end: its connection can be used again.
      if (chunk.length > left || (stream.isOver && claim.to < (toEnd ? this.#segments.size : stream.to))) return
    }
    // It answers for the end as well, even where it had no byte to give.
    contributions.add(upstream, claim.at, 0)
    if (this.#segments.size === Number.POSITIVE_INFINITY) this.#segments.size = claim.at
  }

  #put(claim: Claim, chunk: Buffer, upstream: string): void {
    if (chunk.length === 0) return
    const { hash, spool, contributions } = this.#deps
    hash.offer(claim.at, chunk)
    spool.append(claim.at, chunk)
    contributions.add(upstream, claim.at, chunk.length)
    this.#segments.arrived(claim, chunk.length)
  }

  #throwIfHelperFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  /** Resolves when a stream beside has ended, or there is none. */
  async #oneHelperLess(): Promise<void> {
    if (this.#helpers.size > 0) await Promise.race(this.#helpers)
  }
}
