import type { Beside, BlobBytes, BlobSource } from '../../src/cache/blob-source.js'

export type LaneFault =
  | 'good'
  | 'slow'
  | 'cuts'
  | 'stalls'
  | 'short'
  | 'lies'
  | 'refuses'
  | 'hangs'
  | 'no-ranges'
  | 'late'

interface Lane {
  name: string
  fault: LaneFault
  streams: number
  failures: number
  lied: boolean
  alone: boolean
  tooSlow: boolean
}

export interface FaultySourceOptions {
  content: Buffer
  /** The first is always good, so that there is an end. */
  faults: readonly LaneFault[]
  /** From 0 to 1, the same each time. */
  random: () => number
  /** Streams of one upstream at a time. */
  seats: number
  chunk?: number
  /** Between two chunks of a stream. */
  chunkMs?: number
  sizeBytes?: number | undefined
}

/** A stream without a byte for so long fails. */
const IDLE_MS = 2500
const FAILURES_LIMIT = 3

/** Several upstreams with faults in one process, which counts what leaves them. */
export class FaultySource implements BlobSource {
  readonly sizeBytes: number | undefined
  /** Bytes that left an upstream. */
  given = 0
  /** Streams that were left before they had given what they were asked for. */
  left = 0
  /** Streams that run or are being opened. */
  running = 0
  asked = 0
  readonly blamed = new Set<string>()
  readonly #options: FaultySourceOptions
  readonly #chunk: number
  #lanes: Lane[]
  #turn = 0
  #careful = false

  constructor(options: FaultySourceOptions) {
    this.#options = options
    this.sizeBytes = options.sizeBytes
    this.#chunk = options.chunk ?? 16_384
    this.#lanes = options.faults.map((fault, at) => ({
      name: `${at} ${fault}`,
      fault,
      streams: 0,
      failures: 0,
      lied: false,
      alone: false,
      tooSlow: false,
    }))
  }

  async next(from: number, to: number | undefined, signal?: AbortSignal): Promise<BlobBytes> {
    for (;;) {
      const usable = this.#lanes.filter((lane) => !lane.lied && lane.failures < FAILURES_LIMIT)
      if (usable.length === 0) throw new Error('no upstream is left')
      const lanes = [...usable.filter(({ tooSlow }) => !tooSlow), ...usable.filter(({ tooSlow }) => tooSlow)]
      const lane = lanes[this.#careful ? 0 : this.#turn % lanes.length]!
      const stream = await this.#open(lane, from, to, signal)
      if (stream) return stream
      this.#turn++
    }
  }

  usualMs(): number {
    return Number.NaN
  }

  spare(not?: string): string | undefined {
    return this.#spareLane(not)?.name
  }

  async beside({ from, to, upstream, signal }: Beside): Promise<BlobBytes | undefined> {
    const lane = this.#spareLane(undefined, upstream)
    if (!lane) throw new Error('asked one for a stream that has none to spare')
    return this.#open(lane, from, to, signal, true)
  }

  lied(names: readonly string[]): void {
    for (const name of names) this.blamed.add(name)
    for (const lane of this.#lanes) lane.lied ||= names.includes(lane.name)
  }

  doubt(names: readonly string[]): void {
    this.#careful = true
    this.#lanes = this.#lanes.toSorted((a, b) => Number(names.includes(a.name)) - Number(names.includes(b.name)))
  }

  close(): void {}

  outpaced(name: string): void {
    for (const lane of this.#lanes) lane.tooSlow ||= lane.name === name
  }

  #spareLane(not: string | undefined, name?: string): Lane | undefined {
    if (this.#careful) return undefined
    return this.#lanes
      .filter(
        (lane) => lane.name !== not && (name ?? lane.name) === lane.name && !lane.lied && !lane.alone && !lane.tooSlow,
      )
      .filter(({ streams, failures }) => streams < this.#options.seats && failures < FAILURES_LIMIT)
      .toSorted((a, b) => a.streams - b.streams)[0]
  }

  async #open(
    lane: Lane,
    from: number,
    to: number | undefined,
    signal: AbortSignal | undefined,
    rangeOnly = false,
  ): Promise<BlobBytes | undefined> {
    this.asked++
    this.running++
    lane.streams++
    try {
      await pause(lane.fault === 'hangs' ? IDLE_MS : lane.fault === 'late' ? 300 : 5, signal)
    } catch (error) {
      this.#leave(lane)
      throw error
    }
    if (lane.fault === 'refuses' || lane.fault === 'hangs' || (lane.fault === 'no-ranges' && rangeOnly)) {
      this.#leave(lane)
      lane.alone = true
      if (lane.fault !== 'no-ranges') lane.failures++
      return undefined
    }
    return this.#stream(lane, from, to, signal)
  }

  #leave(lane: Lane): void {
    this.running--
    lane.streams--
  }

  #stream(lane: Lane, from: number, to: number | undefined, signal: AbortSignal | undefined): BlobBytes {
    const { content } = this.#options
    const ending = new AbortController()
    const toEnd = to === undefined || lane.fault === 'no-ranges'
    const end = toEnd ? content.length : to!
    let over = false
    const leave = (whole: boolean) => {
      if (over) return
      over = true
      if (!whole) this.left++
      this.#leave(lane)
    }
    const either = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
    return {
      body: this.#body(lane, from, end, either, leave),
      size: content.length,
      upstream: lane.name,
      toEnd,
      destroy: () => {
        leave(false)
        ending.abort(new Error('the stream was closed'))
      },
      failed: () => {
        lane.failures++
        lane.alone = true
        this.#turn++
      },
    }
  }

  async *#body(lane: Lane, from: number, end: number, signal: AbortSignal, leave: (whole: boolean) => void) {
    const { content, random, chunkMs = 4 } = this.#options
    const failsAt = from + Math.floor(random() * 300_000)
    let whole = false
    try {
      for (let at = from; at < end; ) {
        await pause(lane.fault === 'slow' ? chunkMs * 15 : chunkMs, signal)
        if (at >= failsAt && lane.fault === 'cuts') throw new Error('cut')
        if (at >= failsAt && lane.fault === 'short') break
        if (at >= failsAt && lane.fault === 'stalls') {
          await pause(IDLE_MS, signal)
          throw new Error('stalled')
        }
        const chunk = Buffer.from(content.subarray(at, Math.min(end, at + 1 + Math.floor(random() * 2 * this.#chunk))))
        if (lane.fault === 'lies' && at === from) chunk[chunk.length >> 1]! ^= 1
        at += chunk.length
        this.given += chunk.length
        lane.failures = 0
        yield chunk
        if (at === end) whole = true
      }
      if (!whole && end > from) throw new Error('ended early')
    } finally {
      leave(whole)
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const leave = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', leave)
      resolve()
    }, ms)
    signal?.addEventListener('abort', leave, { once: true })
  })
}
