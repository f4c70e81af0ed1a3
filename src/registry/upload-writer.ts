import { type FileHandle, open } from 'node:fs/promises'
import type { DiskGuard } from './disk-guard.js'
import type { UploadSync } from './upload-sync.js'

/** So much may wait to be written before the client is held back, and as much again is being written. */
const UNWRITTEN_LIMIT = 512 * 1024

export interface UploadWriterDeps {
  file: string
  /** Where it begins: the end of the file, in bytes. */
  position: number
  guard: DiskGuard
  sync: UploadSync
  /** Told at once, whoever waits for what. */
  onFailure: (error: unknown) => void
}

/** Appends to the part file of one upload. What comes while a write is under way is written together by the next one. */
export class UploadWriter {
  readonly #deps: UploadWriterDeps
  #handle: FileHandle | undefined
  #position: number
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #writing: Promise<void> | undefined
  #taken = () => {}
  #failure: { error: unknown } | undefined

  constructor(deps: UploadWriterDeps) {
    this.#deps = deps
    this.#position = deps.position
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#position
  }

  /** @returns what to wait for before there is more, where too much has gathered @throws what a write failed for */
  append(chunk: Uint8Array): Promise<void> | undefined {
    // It would come into the place of what could not be written.
    if (this.#failure) throw this.#failure.error
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.length
    this.#writing ??= this.#write()
    if (this.#waitingBytes < UNWRITTEN_LIMIT) return undefined
    return new Promise((resolve) => {
      this.#taken = resolve
    })
  }

  /** Waits until all is written. @throws what a write failed for; ENOENT when the file is gone */
  async close(): Promise<void> {
    while (this.#writing) await this.#writing
    await this.#handle?.close()
    if (this.#failure) throw this.#failure.error
  }

  async #write(): Promise<void> {
    const { file, guard, sync, onFailure } = this.#deps
    try {
      while (this.#waiting.length > 0) {
        const bytes = this.#waitingBytes
        let rest = this.#takeAll()
        await guard.take(bytes)
        this.#handle ??= await open(file, 'r+')
        const handle = this.#handle
        await guard.writing(async () => {
          while (rest.length > 0) rest = await this.#writeSome(handle, rest)
        })
        await sync.wrote(this.#position)
      }
    } catch (error) {
      this.#failure = { error }
      onFailure(error)
    } finally {
      this.#writing = undefined
    }
  }

  #takeAll(): Uint8Array[] {
    const all = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    this.#taken()
    return all
  }

  /** @returns what is still to be written */
  async #writeSome(handle: FileHandle, chunks: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const { bytesWritten } = await handle.writev(chunks, this.#position)
    this.#position += bytesWritten
    return withoutFirst(chunks, bytesWritten)
  }
}

function withoutFirst(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes
  return chunks.flatMap((chunk) => {
    const gone = Math.min(left, chunk.length)
    left -= gone
    return gone < chunk.length ? [chunk.subarray(gone)] : []
  })
}
