import { type FileHandle, open, rm } from 'node:fs/promises'

/**
 * What has been fetched of one blob so far, in a file that outlives the process. Chunks are appended in order; those
 * that gather while a write is under way go out together with the next one. Reads see what has been written.
 */
export class PartFile {
  readonly path: string
  readonly #handle: FileHandle
  #written: number
  #queue: Buffer[] = []
  #unwritten = 0
  #writing: Promise<void> | undefined
  #failure: { error: unknown } | undefined
  readonly #onWritten: () => void

  private constructor({
    path,
    handle,
    written,
    onWritten,
  }: { path: string; handle: FileHandle; written: number; onWritten: () => void }) {
    this.path = path
    this.#handle = handle
    this.#written = written
    this.#onWritten = onWritten
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
    const { size } = await handle.stat()
    return new PartFile({ path, handle, written: size, onWritten })
  }

  /** Bytes that can be read. */
  get written(): number {
    return this.#written
  }

  /** Bytes that were appended and are not in the file yet. */
  get unwritten(): number {
    return this.#unwritten
  }

  /** Why writing stopped for good, e.g. a full disk; what was written stays readable. */
  get failure(): unknown {
    return this.#failure?.error
  }

  append(chunk: Buffer): void {
    this.#queue.push(chunk)
    this.#unwritten += chunk.length
    this.#writing ??= this.#write()
  }

  /** Resolves when at most `bytes` are unwritten, or writing has failed. */
  async drained(bytes = 0): Promise<void> {
    while (this.#unwritten > bytes && this.#failure === undefined) await this.#writing
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const length = Math.min(buffer.length, this.#written - position)
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position)
    return bytesRead
  }

  /** What was appended after `written`, in order; for whoever goes on without the file when writing has failed. */
  takeUnwritten(): Buffer[] {
    const rest = this.#queue
    this.#queue = []
    this.#unwritten = 0
    return rest
  }

  /** Forgets everything that was fetched. Nothing may be appended before it resolves. */
  async clear(): Promise<void> {
    await this.#writing
    this.takeUnwritten()
    await this.#handle.truncate(0)
    this.#written = 0
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  remove(): Promise<void> {
    return rm(this.path, { force: true })
  }

  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) await this.#writeBatch()
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#writing = undefined
      this.#onWritten()
    }
  }

  async #writeBatch(): Promise<void> {
    let batch = this.#queue
    this.#queue = []
    try {
      while (batch.length > 0) {
        const { bytesWritten } = await this.#handle.writev(batch, this.#written)
        batch = after(batch, bytesWritten)
        this.#written += bytesWritten
        this.#unwritten -= bytesWritten
        this.#onWritten()
      }
    } catch (error) {
      this.#queue = [...batch, ...this.#queue]
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
