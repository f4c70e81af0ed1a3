import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat, truncate } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { KeyedLock } from '../lib/keyed-lock.js'
import { pour } from '../lib/pour.js'
import { type Digest, digestFrom } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import type { Repository } from '../oci/reference.js'
import type { DiskGuard } from './disk-guard.js'
import { isFullDisk } from './full-disk.js'
import type { UploadRecord } from './upload-records.js'
import { UploadSync } from './upload-sync.js'
import { UploadWriter } from './upload-writer.js'

const READ_CHUNK = 1024 * 1024

interface RunningHash {
  hash: Hash
  /** How many bytes of the file it is of. */
  hashed: number
}

interface Receiving {
  writer: UploadWriter
  running: RunningHash
  limit: number
  signal: AbortSignal
}

/** A request's body. `complete` says that all of it has arrived, read or not, as with `http.IncomingMessage`. */
export type UploadBody = Readable & { readonly complete?: boolean }

export interface UploadSessionDeps {
  record: UploadRecord
  file: string
  usedAt: number
  guard: DiskGuard
}

/** One push of one blob: a part file, and the running hash of what is in it. */
export class UploadSession {
  readonly id: string
  readonly repository: Repository
  readonly algorithm: string
  readonly file: string
  /** Who began it. */
  readonly client: string
  /** When it was last asked for, in ms since the epoch. */
  usedAt: number
  /** Finished, cancelled or expired: whoever still waited for it finds nothing. */
  ended = false
  readonly #turns = new KeyedLock<'session'>()
  #waiting = 0
  #askToLetGo: (() => void) | undefined
  /** Of the part file, in bytes, where it is known. */
  #size: number | undefined
  #running: RunningHash | undefined
  readonly #guard: DiskGuard
  readonly #sync: UploadSync

  constructor({ record, file, usedAt, guard }: UploadSessionDeps) {
    this.id = record.session
    this.repository = record.repository
    this.algorithm = record.algorithm
    this.file = file
    this.client = record.client
    this.#guard = guard
    this.#sync = new UploadSync({ file })
    this.usedAt = usedAt
  }

  get busy(): boolean {
    return this.#waiting > 0 || this.#askToLetGo !== undefined
  }

  /**
   * Runs `work` alone. A client whose connection died without a word comes back while the server still waits for the
   * rest of the old request: that one is asked to let go.
   */
  async alone<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#waiting++
    this.#askToLetGo?.()
    return this.#turns.run('session', () => {
      this.#waiting--
      return work()
    })
  }

  /** Bytes received so far. To be called within `alone`. */
  async size(): Promise<number> {
    this.#size ??= (await stat(this.file)).size
    return this.#size
  }

  /** Whether some of it was lost, so that it cannot go on. */
  get spoiled(): boolean {
    return this.#sync.failed
  }

  /**
   * Takes in a body as far as it goes; what has arrived is kept however it ends, unless the disk is full: then it is as
   * it was before. To be called within `alone`.
   *
   * @param announced how many bytes it says that it has
   * @param limit bytes of it that are taken at most
   * @returns bytes taken
   * @throws {OciError} BLOB_UPLOAD_INVALID when the body broke off or is longer than `limit`; UNAVAILABLE (507) when only
   *   the reserve of the disk is left
   */
  async append(
    body: UploadBody,
    { announced = 0, limit = Number.POSITIVE_INFINITY }: { announced?: number | undefined; limit?: number } = {},
  ): Promise<number> {
    await this.#guard.expect(announced)
    const before = await this.size()
    const running = await this.#hash()
    const broken = new AbortController()
    const onFailure = (error: unknown) => broken.abort(error)
    const deps = { file: this.file, position: before, guard: this.#guard, sync: this.#sync, onFailure }
    const writer = new UploadWriter(deps)
    this.#size = undefined
    try {
      await this.#holding(body, () => receive(body, { writer, running, limit, signal: broken.signal }))
    } catch (error) {
      // What filled the disk must not keep it full for everybody else until the upload expires.
      if (isFullDisk(error) && writer.size > before) await truncate(this.file, before)
      throw error
    }
    this.#size = writer.size
    return writer.size - before
  }

  /** The digest of all that was received, computed already unless another algorithm is asked for. Within `alone`. */
  async digest(algorithm: string): Promise<Digest> {
    await this.#sync.settled()
    if (algorithm === this.algorithm) return digestFrom((await this.#hash()).hash.copy(), algorithm)
    return digestFrom(await hashOf(this.file, algorithm, await this.size()), algorithm)
  }

  /** Has all of it on stable storage. Within `alone`. @throws what that failed for: it is `spoiled` then */
  async settle(): Promise<void> {
    await this.#sync.finish()
  }

  async #holding<Result>(body: UploadBody, work: () => Promise<Result>): Promise<Result> {
    this.#askToLetGo = () => {
      if (!body.complete) body.destroy()
    }
    if (this.#waiting > 0) this.#askToLetGo()
    try {
      return await work()
    } finally {
      this.#askToLetGo = undefined
    }
  }

  /** Computed anew from the file after a restart, and when the two have parted. */
  async #hash(): Promise<RunningHash> {
    const size = await this.size()
    if (this.#running?.hashed !== size)
      this.#running = { hash: await hashOf(this.file, this.algorithm, size), hashed: size }
    return this.#running
  }
}

async function receive(body: UploadBody, { writer, running, limit, signal }: Receiving): Promise<void> {
  const end = writer.size + limit
  const take = (chunk: Buffer) => {
    const taken = chunk.subarray(0, end - running.hashed)
    // Written on another thread while it is hashed on this one; after a write that fails the hash is ahead of the file.
    const wait = writer.append(taken)
    running.hash.update(taken)
    running.hashed += taken.length
    if (taken.length < chunk.length) throw new OciError('SIZE_INVALID', 'the body is longer than its Content-Range')
    return wait
  }
  try {
    await pour(body, take, { toError: brokenOff, signal })
  } finally {
    await writer.close()
  }
}

function brokenOff(cause: unknown): OciError {
  return new OciError('BLOB_UPLOAD_INVALID', 'the request broke off; what arrived of it is kept', { cause })
}

/** Of the first `size` bytes. */
async function hashOf(file: string, algorithm: string, size: number): Promise<Hash> {
  const hash = createHash(algorithm)
  if (size === 0) return hash
  const bytes = createReadStream(file, { end: size - 1, highWaterMark: READ_CHUNK })
  for await (const chunk of bytes) hash.update(chunk as Buffer)
  return hash
}
