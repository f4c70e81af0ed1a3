import { type FileHandle, open } from 'node:fs/promises'

/**
 * Data that has not reached the disk yet is kept below about twice this, in bytes: so that the last request of a push,
 * which must wait until all of it has, takes no longer for a large blob than for a small one.
 */
const SYNC_EVERY = 32 * 1024 * 1024

/** Appends to the part file of one upload, one write after the other. */
export class UploadWriter {
  readonly #handle: FileHandle
  #position: number
  #syncedTo: number
  #syncing: Promise<void> = Promise.resolve()
  #failure: unknown

  private constructor(handle: FileHandle, position: number) {
    this.#handle = handle
    this.#position = position
    this.#syncedTo = position
  }

  /** The caller closes it. @throws ENOENT when the file is gone */
  static async open(path: string): Promise<UploadWriter> {
    const handle = await open(path, 'r+')
    try {
      const { size } = await handle.stat()
      return new UploadWriter(handle, size)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#position
  }

  async append(chunk: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    for (let rest = chunk; rest.length > 0; ) {
      const { bytesWritten } = await this.#handle.write(rest, 0, rest.length, this.#position)
      this.#position += bytesWritten
      rest = rest.subarray(bytesWritten)
    }
    if (this.#position - this.#syncedTo >= SYNC_EVERY) await this.#syncSoon()
  }

  /** Waits for what is under way. @throws when data could not be brought to the disk */
  async close(): Promise<void> {
    await this.#syncing
    await this.#handle.close()
    if (this.#failure !== undefined) throw this.#failure
  }

  async #syncSoon(): Promise<void> {
    await this.#syncing
    this.#syncedTo = this.#position
    this.#syncing = this.#handle.datasync().catch((error: unknown) => {
      this.#failure = error
    })
  }
}
