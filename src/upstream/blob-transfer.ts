import { delay } from '../lib/abortable.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'
import { AgreedSize } from './agreed-size.js'
import type { BlobStream, TransferStream } from './answers.js'
import { AllUpstreamsFailedError, RefusedAnswerError, UpstreamError } from './errors.js'
import { hedgeDelay, hedged } from './hedge.js'
import type { Lane } from './lane.js'
import { Lanes } from './lanes.js'
import { type Upstream, worthATry } from './upstream.js'

export interface BlobTransferDeps {
  repository: Repository
  digest: Digest
  /** What the blob must have, when a manifest has said so. */
  sizeBytes?: number | undefined
  /** In order of preference. */
  upstreams: readonly Upstream[]
  /** Who may be asked at the time; those who have come since the start are asked after the others. */
  joining?: (() => readonly Upstream[]) | undefined
}

/** Bytes of the blob: from `from` up to and without `to`, or to its end. */
interface Part {
  from: number
  to: number | undefined
}

/** A stream that can be read on. */
interface Opened {
  lane: Lane
  stream: BlobStream
}

const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 2000

/**
 * One blob's download over several upstreams. Whoever uses it reads a stream from `next`, tells it by `failed` when it ended
 * early, and calls `next` again with the offset reached; beside that one, others may run that `beside` gives.
 * Its upstreams stay open until `close`.
 */
export class BlobTransfer {
  readonly #repository: Repository
  readonly #digest: Digest
  readonly #joining: () => readonly Upstream[]
  readonly #lanes: Lanes
  readonly #size: AgreedSize
  /** Where the next round begins. */
  #turn = 0
  /** Whether bytes have come since the last `next`. */
  #progressed = false
  #hedged = false
  /** One upstream at a time. */
  #careful = false

  constructor({ repository, digest, sizeBytes, upstreams, joining = () => [] }: BlobTransferDeps) {
    this.#repository = repository
    this.#digest = digest
    this.#size = new AgreedSize(sizeBytes)
    this.#joining = joining
    this.#lanes = new Lanes({ repository })
    this.#lanes.join(upstreams)
  }

  get sizeBytes(): number | undefined {
    return this.#size.promised
  }

  /**
   * A stream from byte `from` on: of the same upstream as before if it did its part or broke off after some progress, else of the
   * next one that gives it, or those after it where that is late, once in a transfer. Between rounds over all it waits 0.25 s, 0.5 s, 1 s and then 2 s, give or take a quarter.
   *
   * @param to the first byte that is not wanted; to the end when left out
   * @throws {AllUpstreamsFailedError} when each has failed three times in a row without progress, or refused outright
   */
  async next(from: number, to?: number, signal?: AbortSignal): Promise<TransferStream> {
    if (this.#progressed) this.#lanes.forgive()
    this.#progressed = false
    for (let round = 0; ; round++) {
      this.#lanes.join(this.#joining())
      const opened = await this.#round({ from, to }, signal)
      if (opened) return this.#first(opened, { from, to })
      if (this.#lanes.exhausted) throw new AllUpstreamsFailedError(this.#lanes.failures)
      await delay(Math.min(FIRST_PAUSE_MS * 2 ** round, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2), signal)
    }
  }

  /** How long the upstream that is asked first mostly takes for so many bytes, milliseconds; not a number while that is not known. */
  usualMs(bytes: number): number {
    const [first] = this.#lanes.round(this.#turn)
    return (bytes * 1000) / (first?.upstream.client.traffic.measured('blob').bytesPerSecond?.value ?? Number.NaN)
  }

  /** An upstream that has not failed yet and can give one more stream at once, of those the one that gives the fewest. @param not who must not */
  spare(not?: string): string | undefined {
    return this.#careful ? undefined : this.#lanes.spare({ not })?.name
  }

  /**
   * A stream of one part beside others, of the upstream that `spare` has just named.
   *
   * @returns undefined when it could not give it: it is not asked beside others again
   * @throws the signal's reason
   */
  async beside(wanted: { from: number; to: number; upstream: string; signal: AbortSignal }) {
    const lane = this.#careful ? undefined : this.#lanes.spare({ name: wanted.upstream })
    const opened = lane && (await this.#open(lane, wanted, wanted.signal, () => {}, true))
    return opened && this.#followed(opened, wanted)
  }

  /** It came too slowly, or did not answer in time: asked again only if nobody else can be. */
  outpaced(upstream: string): void {
    this.#lanes.outpaced(upstream)
  }

  /**
   * The whole blob did not match its digest, by what these upstreams gave: they are quarantined, and asked no more. An
   * origin that only completed what mirrors had begun is not suspected.
   */
  lied(upstreams: readonly string[]): void {
    const lanes = this.#lanes.thatGave(upstreams)
    const mirrors = lanes.filter(({ upstream }) => upstream.client.options.role === 'mirror')
    for (const lane of mirrors.length > 0 ? mirrors : lanes) {
      if (lane.mismatched()) continue
      const { upstream } = lane
      const error = new UpstreamError('lying', 'the blob does not match its digest', { upstream: upstream.name })
      lane.lied = true
      lane.lastError = error
      upstream.client.traffic.failed(error)
      upstream.health.quarantine(error)
    }
    this.#size.forget()
  }

  /** One of these gave what does not match: from now on one upstream at a time, these last, and of them origins before mirrors. */
  doubt(upstreams: readonly string[]): void {
    this.#lanes.doubt(upstreams)
    this.#turn = 0
    this.#careful = true
    this.#size.forget()
  }

  /** Nothing more will be asked of it. */
  close(): void {
    this.#lanes.leave()
  }

  /** Asks each lane once, until one gives a stream. */
  async #round(part: Part, signal: AbortSignal | undefined): Promise<Opened | undefined> {
    const left = this.#lanes.round(this.#turn)
    const attempt = (lane: Lane) => (either: AbortSignal, begun: () => void) => this.#open(lane, part, either, begun)
    const mayHedge = !this.#hedged
    const next = () => {
      if (!mayHedge) return undefined
      const index = left.findIndex(({ isUsable }) => isUsable)
      const lane = index < 0 ? this.#lanes.outOfReach : left.splice(index, 1)[0]
      this.#hedged ||= lane !== undefined
      return lane && attempt(lane)
    }
    for (let lane = left.shift(); lane; lane = left.shift()) {
      const usualMs = lane.upstream.client.traffic.measured('blob').ttfbMs?.value
      const opened = await hedged<Opened>({
        first: attempt(lane),
        afterMs: hedgeDelay(usualMs),
        next,
        discard: (late) => this.#letGo(late),
        signal,
      })
      if (opened) return opened
    }
    return undefined
  }

  /** @param rangeOnly whether the whole in place of a part is of no use */
  async #open(
    lane: Lane,
    { from, to }: Part,
    signal: AbortSignal,
    begun: () => void,
    rangeOnly = false,
  ): Promise<Opened | undefined> {
    const { upstream, redirect } = lane
    // Its place is taken before anything is awaited, so that nobody else counts on it.
    lane.streams++
    try {
      const refusal = upstream.refusal(this.#repository)
      if (refusal || !(await worthATry(upstream, signal))) {
        lane.streams--
        lane.passed(refusal)
        return undefined
      }
      const mayLeave = () => this.#lanes.better(lane)
      const options = {
        to,
        sizeBytes: this.#size.bytes,
        noRange: lane.noRanges,
        encoded: lane.encoded,
        rangeOnly,
        redirect,
        mayLeave,
        begun,
      }
      const stream = await upstream.client.getBlob(this.#repository, this.#digest, from, signal, options)
      this.#size.check(stream, from)
      upstream.health.answered()
      lane.answered = true
      return { lane, stream }
    } catch (error) {
      lane.streams--
      if (!(error instanceof UpstreamError)) throw error
      if (error instanceof RefusedAnswerError) lane.refused(error)
      else lane.failed(error)
      return undefined
    }
  }

  /** The stream that the next `next` goes on from. */
  #first(opened: Opened, part: Part): TransferStream {
    this.#size.told(opened.stream.size, part.from)
    const index = this.#lanes.indexOf(opened.lane)
    const goOn = (steps: 0 | 1) => {
      this.#turn = index + steps
    }
    goOn(1)
    return this.#followed(opened, part, goOn)
  }

  /** @param goOn told whether the next one is to be asked after it, or it again */
  #followed(opened: Opened, part: Part, goOn: (steps: 0 | 1) => void = () => {}): TransferStream {
    const { lane, stream } = opened
    let progressed = false
    let left = false
    const leave = () => {
      if (!left) lane.streams--
      left = true
    }
    const arrived = () => {
      if (!progressed) goOn(0)
      progressed = true
      this.#progressed = true
      this.#size.hold()
    }
    return {
      body: this.#watched(opened, part, { arrived, leave }),
      size: this.#size.bytes,
      upstream: stream.upstream,
      toEnd: stream.toEnd,
      destroy() {
        leave()
        stream.destroy()
      },
      failed(error) {
        stream.destroy()
        const known = error instanceof UpstreamError
        goOn(known && error.kind === 'down' && progressed ? 0 : 1)
        if (known) lane.failed(error)
      },
    }
  }

  #letGo({ lane, stream }: Opened): void {
    lane.streams--
    stream.destroy()
  }

  /** Passes the bytes on, noting whether all came. */
  async *#watched(
    { lane, stream }: Opened,
    { from, to }: Part,
    on: { arrived: () => void; leave: () => void },
  ): AsyncGenerator<Buffer> {
    const { upstream } = stream
    const size = this.#size.bytes
    const end = stream.toEnd ? size : to
    let at = from
    try {
      for await (const chunk of stream.body) {
        at += chunk.length
        if (size !== undefined && at > size)
          throw new UpstreamError('lying', 'the blob is longer than announced', { upstream })
        on.arrived()
        yield chunk
      }
      if (end !== undefined && at < end)
        throw new UpstreamError('down', `the blob ended after ${at} of ${end} bytes`, { upstream })
      lane.upstream.health.succeeded()
    } finally {
      on.leave()
    }
  }
}
