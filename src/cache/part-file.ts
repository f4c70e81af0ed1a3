import { type FileHandle, open, rm } from 'node:fs/promises'
import { RangeSet } from '../lib/range-set.js'
import { rangesFile } from '../storage/layout.js'
import { RangeJournal } from './range-journal.js'

/** Chunks that follow each other and wait to be written. */
interface Run {
  at: number
  end: number
  chunks: Buffer[]
}

/**
 * What has been fetched of one blob so far, in a file that outlives the process. Chunks may come for several places in
 * turn; those that gather while a write is under way go out together with the next one of theirs. Reads see what has been
 * written. As long as it is written from its beginning on its length says what is there; from the first gap on a
 * journal does.
 */
export class PartFile {
  readonly path: string
  readonly #handle: FileHandle
  readonly #written: RangeSet
  readonly #journal: RangeJournal
  readonly #queue: Run[] = []
  #unwritten = 0
  #writing: Promise<void> | undefined
  #failure: { error: unknown } | undefined
  readonly #onWritten: () => void

  private constructor(deps: {
    path: string
    handle: FileHandle
    written: RangeSet
    journal: RangeJournal
    onWritten: () => void
  }) {
    this.path = deps.path
    this.#handle = deps.handle
    this.#written = deps.written
    this.#journal = deps.journal
    this.#onWritten = deps.onWritten
  }

  /**
   * Opens the part file at `path`, with what an earlier process left in it.
   *
   * @param onWritten called when more can be read, and when writing has failed
   */
  static async open(path: string, onWritten: () => void): Promise<PartFile> {
    // 'a+' creates and keeps content; positions are ours, so it is reopened for positioned writes.
    await (await open(path, 'a')).close()
    const handle = await open(path, 'r+')
    try {
      const { size } = await handle.stat()
      const journal = new RangeJournal(rangesFile(path))
      const noted = await journal.load()
      const written = new RangeSet(noted ?? [{ from: 0, to: size }])
      written.cutAt(size)
      if (noted) await journal.begin(written.spans)
      return new PartFile({ path, handle, written, journal, onWritten })
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** What can be read. */
  get written(): RangeSet {
    return this.#written
  }

  /** Why writing stopped for good, e.g. a full disk; what was written stays readable. */
  get failure(): unknown {
    return this.#failure?.error
  }

  append(position: number, chunk: Buffer): void {
    const end = position + chunk.length
    const run = this.#queue.find((each) => each.end === position)
    if (run) {
      run.chunks.push(chunk)
      run.end = end
    } else this.#queue.push({ at: position, end, chunks: [chunk] })
    this.#unwritten += chunk.length
    this.#writing ??= this.#write()
  }

  /** Resolves when at most `bytes` are unwritten, or writing has failed. */
  async drained(bytes = 0): Promise<void> {
    while (this.#unwritten > bytes && this.#failure === undefined) await this.#writing
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const length = Math.min(buffer.length, this.#written.endAt(position) - position)
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position)
    return bytesRead
  }

  /** What was appended at `position` and after, in order; for whoever goes on without the file when writing has failed. */
  takeUnwritten(position: number): Buffer[] {
    const chunks: Buffer[] = []
    for (let at = position, run = this.#runAt(at); run; run = this.#runAt(at)) {
      chunks.push(...run.chunks)
      at = run.end
    }
    this.#forgetUnwritten()
    return chunks
  }

  /** Forgets everything that was fetched. Nothing may be appended before it resolves. */
  async clear(): Promise<void> {
    await this.#writing
    this.#forgetUnwritten()
    // In this order: a journal of bytes that are gone is harmless, a file with gaps and without a journal is not.
    await this.#handle.truncate(0)
    await this.#journal.remove()
    this.#written.clear()
  }

  /** It is whole: its length says what is there again. */
  async sealed(): Promise<void> {
    await this.#writing
    await this.#journal.remove()
  }

  /** Nothing more is appended: resolves when all is written and noted, and another may go on with the file. */
  async settled(): Promise<void> {
    await this.#writing
    await this.#journal.close()
  }

  async close(): Promise<void> {
    try {
      await this.settled()
    } finally {
      await this.#handle.close()
    }
  }

  async remove(): Promise<void> {
    await rm(this.path, { force: true })
    await this.#journal.remove()
  }

  #runAt(position: number): Run | undefined {
    return this.#queue.find((run) => run.at === position)
  }

  #forgetUnwritten(): void {
    this.#queue.length = 0
    this.#unwritten = 0
  }

  async #write(): Promise<void> {
    try {
      for (let run = this.#queue.shift(); run; run = this.#queue.shift()) await this.#writeRun(run)
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#writing = undefined
      this.#onWritten()
    }
  }

  async #writeRun(run: Run): Promise<void> {
    try {
      if (run.at > this.#written.endAt(0) && !this.#journal.begun) await this.#journal.begin(this.#written.spans)
      while (run.chunks.length > 0) {
        const { bytesWritten } = await this.#handle.writev(run.chunks, run.at)
        const from = run.at
        run.at += bytesWritten
        run.chunks = after(run.chunks, bytesWritten)
        this.#written.add(from, run.at)
        this.#unwritten -= bytesWritten
        if (this.#journal.begun) await this.#journal.note(from, run.at)
        this.#onWritten()
      }
    } catch (error) {
      this.#queue.unshift(run)
      throw error
    }
  }
}

/** What is left of `chunks` after their first `count` bytes. */
function after(chunks: Buffer[], count: number): Buffer[] {
  let rest = count
  let at = 0
  while (at < chunks.length && rest >= chunks[at]!.length) rest -= chunks[at++]!.length
  const left = chunks.slice(at)
  if (rest > 0) left[0] = left[0]!.subarray(rest)
  return left
}
