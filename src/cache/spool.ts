import { RangeSet } from '../lib/range-set.js'
import { PartFile } from './part-file.js'

/** How much may be held in memory for the slowest reader once there is no file to hold it. */
export const WINDOW_BYTES = 8 * 1024 * 1024

/**
 * The bytes of one blob between the upstreams and its readers: a part file and, from where the file could not be
 * written any further (a full disk, a blob larger than the cache), a window in memory.
 */
export class Spool {
  /** Called when more can be read. */
  onGrown = () => {}
  #file: PartFile | undefined
  /** What was appended. */
  readonly #held = new RangeSet()
  /** Chunks that have no place in the file: the first begins at `#tailStart`. */
  #tail: Buffer[] = []
  #tailStart = 0
  #overflow: { reason: unknown } | undefined

  /** With a part file, and what an earlier process left in it; without one when it cannot be opened. */
  static async open(path: string): Promise<Spool> {
    const spool = new Spool()
    try {
      spool.#file = await PartFile.open(path, () => spool.#fileWrote())
      for (const { from, to } of spool.#file.written.spans) spool.#held.add(from, to)
    } catch (reason) {
      spool.#overflow = { reason }
    }
    return spool
  }

  /** A spool without a file: for one reader beside a fill that cannot be joined any more. */
  static unkept(): Spool {
    const spool = new Spool()
    spool.#overflow = { reason: undefined }
    return spool
  }

  /** What was appended, or left by an earlier process: without a file everything up to where it goes on. */
  get held(): RangeSet {
    return this.#held
  }

  /** Whether everything will be in the file in the end; if not, what comes must follow what is held. */
  get keeps(): boolean {
    return this.#overflow === undefined
  }

  /** Why it does not keep everything; undefined as well when it was not meant to. */
  get reason(): unknown {
    return this.#overflow?.reason
  }

  /** Whether byte 0 and all after it can still be read. */
  get isWhole(): boolean {
    return this.keeps || this.#tailStart === this.#fileEnd
  }

  get path(): string | undefined {
    return this.#file?.path
  }

  /** Up to where can be read on from `position`; beyond what is in the file only while it is in the window. */
  readableTo(position: number): number {
    if (this.#overflow) return Math.max(position, this.#held.endAt(0))
    return this.#file?.written.endAt(position) ?? position
  }

  append(position: number, chunk: Buffer): void {
    this.#held.add(position, position + chunk.length)
    if (this.#file && !this.#overflow) {
      this.#file.append(position, chunk)
      return
    }
    this.#tail.push(chunk)
    this.onGrown()
  }

  /** Resolves when at most `bytes` wait to be written. */
  async drained(bytes = 0): Promise<void> {
    if (!this.#overflow) await this.#file?.drained(bytes)
  }

  /** Writes no further: what follows the beginning is only passed on, and what lies beyond it is given up. */
  stopKeeping(reason: unknown): void {
    if (this.#overflow) return
    this.#overflow = { reason }
    this.#tailStart = this.#fileEnd
    this.#tail = this.#file?.takeUnwritten(this.#tailStart) ?? []
    this.#held.cutAt(this.#tail.reduce((end, chunk) => end + chunk.length, this.#tailStart))
    this.onGrown()
  }

  /** Lets go of what no reader needs any more. */
  trim(upTo: number): void {
    while (this.#tail.length > 0 && this.#tailStart + this.#tail[0]!.length <= upTo)
      this.#tailStart += this.#tail.shift()!.length
  }

  /** @throws when the bytes were let go, or the file fails */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    const inFile = this.#file?.written.endAt(position) ?? position
    if (inFile > position) return this.#file!.read(buffer, position)
    if (position < this.#tailStart) throw new Error('these bytes were passed on and not kept')
    let start = this.#tailStart
    for (const chunk of this.#tail) {
      if (position < start + chunk.length) return chunk.copy(buffer, 0, position - start)
      start += chunk.length
    }
    return 0
  }

  /** Forgets everything, to begin again at byte 0. */
  async clear(): Promise<void> {
    await this.#file?.clear()
    this.#held.clear()
    this.#tail = []
    this.#tailStart = 0
  }

  /** The blob is whole: its file can be published. */
  async sealed(): Promise<void> {
    if (this.keeps) await this.#file?.sealed()
  }

  /** Nothing more is appended: another may go on with what is in the file. */
  async settled(): Promise<void> {
    await this.#file?.settled()
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }

  async remove(): Promise<void> {
    await this.#file?.remove()
  }

  /** Up to where the file holds the beginning of the blob. */
  get #fileEnd(): number {
    return this.#file?.written.endAt(0) ?? 0
  }

  #fileWrote(): void {
    const failure = this.#file?.failure
    if (failure === undefined) this.onGrown()
    else this.stopKeeping(failure)
  }
}
