import { delay } from '../lib/abortable.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import { AllUpstreamsFailedError, UpstreamError } from './errors.js'
import { hedgeDelay, hedged } from './hedge.js'
import type { BlobStream } from './registry-client.js'
import { type Upstream, worthATry } from './upstream.js'

export interface BlobTransferDeps {
  repository: Repository
  digest: Digest
  /** What the blob must have, when a manifest has said so. */
  sizeBytes?: number | undefined
  /** In order of preference. */
  upstreams: readonly Upstream[]
}

/** What one upstream did in this transfer. */
interface Lane {
  upstream: Upstream
  /** In a row, without any byte of progress between; at the limit it is asked no more. */
  failures: number
  lastError: UpstreamError | undefined
  lied: boolean
  /** Left because it came too slowly: asked again only if nobody else can be. */
  tooSlow: boolean
}

/** A stream that can be read on. */
interface Opened {
  lane: Lane
  stream: BlobStream
}

const FAILURES_LIMIT = 3
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 2000

/**
 * One blob's download over several upstreams. Whoever uses it reads a stream, reports by `failed` one that ended early,
 * and calls `next` again with the offset reached; by one caller, one stream at a time.
 */
export class BlobTransfer {
  readonly #repository: Repository
  readonly #digest: Digest
  readonly #expectedSize: number | undefined
  readonly #lanes: readonly Lane[]
  readonly #contributors = new Set<Lane>()
  #offset = 0
  #size: number | undefined
  #current: { lane: Lane; stream: BlobStream; from: number } | undefined
  /** Where the next round begins. */
  #turn = 0
  #brokeOff = false
  #hedged = false

  constructor({ repository, digest, sizeBytes, upstreams }: BlobTransferDeps) {
    this.#repository = repository
    this.#digest = digest
    this.#expectedSize = sizeBytes
    this.#size = sizeBytes
    this.#lanes = upstreams.map((upstream) => ({
      upstream,
      failures: 0,
      lastError: undefined,
      lied: false,
      tooSlow: false,
    }))
  }

  /** The upstreams that gave bytes, by name, in the order of their first. */
  get contributors(): string[] {
    return [...this.#contributors].map(({ upstream }) => upstream.name)
  }

  /**
   * A stream that begins at byte `from`: of the same upstream as before if it broke off after some progress, else of the
   * next one that gives it, or the one after it where that is late, once in a transfer. Between rounds over all it waits 0.25 s, 0.5 s, 1 s and then 2 s, give or take a quarter.
   *
   * @throws {AllUpstreamsFailedError} when each has failed three times in a row without progress, or refused outright
   */
  async next(from: number, signal?: AbortSignal): Promise<BlobStream> {
    this.#settle(from)
    for (let round = 0; ; round++) {
      const stream = await this.#round(from, signal)
      if (stream) return stream
      if (this.#exhausted()) throw new AllUpstreamsFailedError(this.#failures())
      await delay(Math.min(FIRST_PAUSE_MS * 2 ** round, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2), signal)
    }
  }

  /** Says why the current stream cannot be read on; an error that is not the upstream's does not count against it. */
  failed(error: unknown): void {
    if (!this.#current) return
    const { lane, stream } = this.#current
    stream.destroy()
    if (!(error instanceof UpstreamError)) return
    this.#brokeOff = error.kind === 'down'
    lane.tooSlow ||= error.trickling
    this.#count(lane, error)
  }

  /**
   * The whole blob did not match its digest: every upstream that gave bytes of it is quarantined, and asked no more. An
   * origin that only completed what mirrors had begun is not suspected.
   */
  lied(): void {
    const mirrors = [...this.#contributors].filter(({ upstream }) => upstream.client.options.role === 'mirror')
    for (const lane of mirrors.length > 0 ? mirrors : this.#contributors) {
      const { upstream } = lane
      const error = new UpstreamError('lying', 'the blob does not match its digest', { upstream: upstream.name })
      lane.lied = true
      lane.lastError = error
      upstream.client.traffic.failed(error)
      upstream.health.quarantine(error)
    }
    this.#contributors.clear()
    this.#current?.stream.destroy()
    this.#current = undefined
    this.#offset = 0
    this.#size = this.#expectedSize
  }

  /** Takes stock of what the last stream achieved. */
  #settle(from: number): void {
    if (from > this.#offset) for (const lane of this.#lanes) lane.failures = 0
    this.#offset = from
    if (from === 0) this.#contributors.clear()
    const last = this.#current
    if (!last) return
    last.stream.destroy()
    const sameAgain = this.#brokeOff && from > last.from
    this.#turn = this.#lanes.indexOf(last.lane) + (sameAgain ? 0 : 1)
    this.#current = undefined
    this.#brokeOff = false
  }

  /** The lanes of one round: those that are usable or, if there are none, those left alone for now. */
  #order(): Lane[] {
    const rotated = this.#lanes.map((_, index) => this.#lanes[(this.#turn + index) % this.#lanes.length] as Lane)
    const open = rotated.filter((lane) => !isDone(lane))
    const usable = open.filter((lane) => this.#isUsable(lane))
    const lanes = usable.length > 0 ? usable : open
    return [...lanes.filter(({ tooSlow }) => !tooSlow), ...lanes.filter(({ tooSlow }) => tooSlow)]
  }

  /** Asks each lane once, until one gives a stream. */
  async #round(from: number, signal: AbortSignal | undefined): Promise<BlobStream | undefined> {
    const left = this.#order()
    const attempt = (lane: Lane) => (either: AbortSignal, begun: () => void) => this.#open(lane, from, either, begun)
    const second = () => {
      const next = this.#hedged ? -1 : left.findIndex((lane) => this.#isUsable(lane))
      const [lane] = next < 0 ? [] : left.splice(next, 1)
      this.#hedged ||= lane !== undefined
      return lane && attempt(lane)
    }
    for (let lane = left.shift(); lane; lane = left.shift()) {
      const usualMs = lane.upstream.client.traffic.measured('blob').ttfbMs?.value
      const opened = await hedged<Opened>({
        first: attempt(lane),
        afterMs: hedgeDelay(usualMs),
        second,
        discard: ({ stream }) => stream.destroy(),
        signal,
      })
      if (opened) return this.#adopt(opened, from)
    }
    return undefined
  }

  async #open(lane: Lane, from: number, signal: AbortSignal, begun: () => void): Promise<Opened | undefined> {
    const { upstream } = lane
    const refusal = upstream.refusal(this.#repository)
    if (refusal || !(await worthATry(upstream, signal))) {
      lane.lastError = refusal ?? upstream.health.skipped()
      lane.failures = refusal ? FAILURES_LIMIT : lane.failures + 1
      return undefined
    }
    try {
      const mayLeave = () => this.#lanes.some((other) => other !== lane && !other.tooSlow && this.#isUsable(other))
      const stream = await upstream.client.getBlob(this.#repository, this.#digest, from, signal, {
        mayLeave,
        begun,
      })
      this.#checkSize(stream, from)
      upstream.health.answered()
      return { lane, stream }
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error
      this.#count(lane, error)
      return undefined
    }
  }

  #adopt({ lane, stream }: Opened, from: number): BlobStream {
    this.#size = from > 0 ? (this.#size ?? stream.size) : (stream.size ?? this.#size)
    this.#current = { lane, stream, from }
    return { ...stream, size: this.#size, body: this.#watched(lane, stream, from) }
  }

  #isUsable(lane: Lane): boolean {
    const { upstream } = lane
    return !isDone(lane) && upstream.health.usable() && !upstream.refusal(this.#repository)
  }

  #checkSize(stream: BlobStream, from: number): void {
    const differs = this.#size !== undefined && stream.size !== undefined && stream.size !== this.#size
    if (differs && (from > 0 || this.#expectedSize !== undefined)) {
      stream.destroy()
      const message = `the blob has ${stream.size} bytes there, ${this.#size} elsewhere`
      throw new UpstreamError('lying', message, { upstream: stream.upstream })
    }
  }

  /** Passes the bytes on, noting who gave some and whether all came. */
  async *#watched(lane: Lane, stream: BlobStream, from: number): AsyncGenerator<Buffer> {
    const upstream = lane.upstream.name
    const size = this.#size
    let at = from
    for await (const chunk of stream.body) {
      at += chunk.length
      if (size !== undefined && at > size)
        throw new UpstreamError('lying', 'the blob is longer than announced', { upstream })
      this.#contributors.add(lane)
      yield chunk
    }
    if (size !== undefined && at < size)
      throw new UpstreamError('down', `the blob ended after ${at} of ${size} bytes`, { upstream })
    // It answers for the end as well, even where it had no byte to give.
    this.#contributors.add(lane)
    lane.upstream.health.succeeded()
  }

  /** What another try soon cannot change ends the lane until there was progress elsewhere. */
  #count(lane: Lane, error: UpstreamError): void {
    const again = error.kind === 'down' || error.kind === 'slow' || error.kind === 'lying'
    lane.failures = again ? lane.failures + 1 : FAILURES_LIMIT
    lane.lastError = error
    lane.upstream.failed(this.#repository, error)
  }

  /** Nobody is left to ask; or those who can be asked do not have it, and the others are left alone for now. */
  #exhausted(): boolean {
    const left = this.#lanes.filter((lane) => !isDone(lane))
    if (left.length === 0) return true
    const somebodySpoke = this.#lanes.some(
      ({ lastError }) => lastError?.kind === 'not-found' || lastError?.kind === 'denied',
    )
    return somebodySpoke && left.every(({ upstream, failures }) => failures === 0 && !upstream.health.usable())
  }

  #failures(): UpstreamError[] {
    return this.#lanes.map(({ lastError, upstream }) => lastError ?? upstream.health.skipped())
  }
}

function isDone({ lied, failures }: Lane): boolean {
  return lied || failures >= FAILURES_LIMIT
}
