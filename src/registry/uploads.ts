import { randomUUID } from 'node:crypto'
import type { EventBus } from '../events.js'
import type { BlobStore } from '../metadata/blob-store.js'
import { algorithmOf, type Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import type { ByteRange } from '../oci/range.js'
import type { Repository } from '../oci/reference.js'
import type { DiskGuard } from './disk-guard.js'
import { writing } from './full-disk.js'
import { type UploadRecord, UploadRecords } from './upload-records.js'
import { type UploadBody, UploadSession } from './upload-session.js'

const SESSIONS_LIMIT = 10_000
const ALGORITHMS = ['sha256', 'sha512']

export interface UploadsDeps {
  dir: string
  store: BlobStore
  events: EventBus
  /** Makes a blob that is here part of a repository. */
  link: (repository: Repository, digest: Digest) => Promise<void>
  guard: DiskGuard
  now: () => number
  /** An upload that nobody has continued for so long is given up. */
  expireMs: number
  /** Uploads that one client may have open at a time; 0: any number. */
  perClient: number
  /** Uploads that may be open at a time; beyond it clients are asked to wait. */
  limit?: number
}

/** The client where no client has asked; not counted. */
export const OURSELVES = ''

/** Who begins an upload, and for a digest of which algorithm; sha256 when it is left out. */
export interface UploadStart {
  client: string
  algorithm?: string | undefined
}

/** Where an upload stands. */
export interface UploadState {
  session: string
  /** bytes received */
  size: number
}

/** What a request brings for an upload. */
export interface UploadChunk {
  body: UploadBody
  /** Where the client says that it belongs; undefined: at the end of what is here. */
  range: ByteRange | 'malformed' | undefined
  /** Length of the body in bytes, where it was announced. */
  length: number | undefined
}

/** Blobs being pushed. What was received outlives the client's connection and this process. */
export class Uploads {
  readonly #deps: UploadsDeps
  readonly #records: UploadRecords
  readonly #sessions = new Map<string, UploadSession>()

  constructor(deps: UploadsDeps) {
    this.#deps = deps
    this.#records = new UploadRecords(deps)
  }

  /** Finds the uploads that an earlier process left. */
  async start(): Promise<void> {
    for (const { record, usedAt } of await this.#records.load()) this.#add(record, usedAt)
  }

  /**
   * end-4a, end-11 without a mount.
   *
   * @throws {OciError} TOOMANYREQUESTS, DIGEST_INVALID for an unknown algorithm, UNAVAILABLE (507) when the disk is full
   */
  async begin(repository: Repository, { client, algorithm = 'sha256' }: UploadStart): Promise<UploadState> {
    if (!ALGORITHMS.includes(algorithm))
      throw new OciError('DIGEST_INVALID', `digests are of ${ALGORITHMS.join(' or ')}`)
    const { guard } = this.#deps
    await guard.take(1)
    this.#checkCount(client)
    const record = { session: randomUUID(), repository, algorithm, startedAt: this.#deps.now(), client }
    const session = this.#add(record, record.startedAt)
    try {
      await guard.writing(() => this.#records.create(record))
    } catch (error) {
      await this.#end(session)
      throw error
    }
    return { session: session.id, size: 0 }
  }

  /** end-13: asks whoever still writes to let go, since the one who asks is about to go on. */
  status(repository: Repository, id: string): Promise<UploadState> {
    return this.#with(repository, id, async (session) => ({ session: id, size: await session.size() }))
  }

  /**
   * end-5.
   *
   * @throws {OciError} BLOB_UPLOAD_UNKNOWN; 416 with the current Range for a chunk out of order; SIZE_INVALID;
   *   BLOB_UPLOAD_INVALID when the body broke off; UNAVAILABLE (507) when the disk is full. The upload can go on after each.
   */
  append(repository: Repository, id: string, chunk: UploadChunk): Promise<UploadState> {
    return this.#with(repository, id, async (session) => {
      await this.#take(session, chunk)
      return { session: id, size: await session.size() }
    })
  }

  /**
   * end-6: takes the last bytes, if any, and publishes the blob. It is on stable storage when the promise resolves.
   *
   * @throws {OciError} DIGEST_INVALID when it is not what was received, UNAVAILABLE (507) when it did not reach the disk for
   *   lack of room: the upload is gone then; as `append` otherwise
   */
  finish(repository: Repository, id: string, digest: Digest, chunk: UploadChunk): Promise<void> {
    return this.#with(repository, id, async (session) => {
      await this.#take(session, chunk)
      await this.#publish(session, digest)
    })
  }

  /** end-4b: a blob in one request. Nothing of it is kept when it fails: the client was told no session. */
  async pushWhole(repository: Repository, digest: Digest, chunk: UploadChunk, client: string): Promise<void> {
    const { session } = await this.begin(repository, { client, algorithm: algorithmOf(digest) })
    try {
      await this.finish(repository, session, digest, chunk)
    } catch (error) {
      const left = this.#sessions.get(session)
      if (left) await this.#end(left)
      throw error
    }
  }

  /** end-14. @throws {OciError} BLOB_UPLOAD_UNKNOWN */
  cancel(repository: Repository, id: string): Promise<void> {
    return this.#with(repository, id, (session) => this.#end(session))
  }

  /** Gives up what nobody has continued for `expireMs`. */
  async sweep(): Promise<void> {
    const limit = this.#deps.now() - this.#deps.expireMs
    for (const session of [...this.#sessions.values()]) {
      if (session.usedAt >= limit || session.busy) continue
      await session.alone(async () => {
        if (session.usedAt < limit && !session.ended) await this.#end(session)
      })
    }
  }

  /** Whether somebody writes to an upload there, or has begun or continued one after `since`, in ms since the epoch. */
  isUploading(repository: Repository, since: number): boolean {
    return [...this.#sessions.values()].some(
      (each) => each.repository === repository && (each.busy || each.usedAt > since),
    )
  }

  #add(record: UploadRecord, usedAt: number): UploadSession {
    const file = this.#records.partFile(record.session)
    const session = new UploadSession({ record, file, usedAt, guard: this.#deps.guard })
    this.#sessions.set(session.id, session)
    return session
  }

  /** @throws {OciError} TOOMANYREQUESTS */
  #checkCount(client: string): void {
    const { perClient, limit = SESSIONS_LIMIT } = this.#deps
    const whose =
      this.#sessions.size >= limit ? 'all clients' : this.#hasTooMany(client, perClient) ? 'yours' : undefined
    if (whose === undefined) return
    const message = `too many uploads are open (${whose}): finish or cancel some, or try again later`
    throw new OciError('TOOMANYREQUESTS', message, { headers: { 'retry-after': '60' } })
  }

  #hasTooMany(client: string, perClient: number): boolean {
    if (client === OURSELVES || perClient === 0 || this.#sessions.size < perClient) return false
    return [...this.#sessions.values()].filter((session) => session.client === client).length >= perClient
  }

  async #with<Result>(
    repository: Repository,
    id: string,
    work: (session: UploadSession) => Promise<Result>,
  ): Promise<Result> {
    const session = this.#sessions.get(id)
    // A session is only known in its own repository: whoever may push elsewhere must not touch it.
    if (session?.repository !== repository) throw unknownUpload(id)
    return session.alone(async () => {
      if (session.ended) throw unknownUpload(id)
      try {
        return await writing(() => work(session))
      } catch (error) {
        const missing = isMissing(error)
        if (missing || session.spoiled) await this.#end(session)
        throw missing ? unknownUpload(id, error) : error
      } finally {
        session.usedAt = this.#deps.now()
      }
    })
  }

  async #take(session: UploadSession, { body, range, length }: UploadChunk): Promise<void> {
    if (!range) return void (await session.append(body, { announced: length }))
    const size = await session.size()
    if (range === 'malformed' || range.start !== size) throw outOfOrder(session, size)
    const expected = range.end - range.start + 1
    if (length !== undefined && length !== expected) {
      throw new OciError('SIZE_INVALID', `the Content-Range is of ${expected} bytes, the body of ${length}`)
    }
    const taken = await session.append(body, { announced: expected, limit: expected })
    if (taken < expected)
      throw new OciError('SIZE_INVALID', `the Content-Range is of ${expected} bytes, the body was of ${taken}`)
  }

  async #publish(session: UploadSession, digest: Digest): Promise<void> {
    const { store, link, guard, events } = this.#deps
    const received = await session.digest(algorithmOf(digest))
    const size = await session.size()
    if (received !== digest) {
      await this.#end(session)
      throw new OciError('DIGEST_INVALID', 'what was received has another digest', {
        detail: { digest, received, bytes: size },
      })
    }
    // Here, where nothing repeats it: what adopts the file syncs it as well, and would find no fault the second time.
    await session.settle()
    // Bytes before link: a kill between the two leaves a blob that nobody is told of and the garbage collection takes. The
    // other way round it would leave a link to nothing.
    await guard.writing(() => store.adopt(session.file, { digest, size, manifest: false }, 'pushed'))
    await link(session.repository, digest)
    await this.#end(session)
    events.emit('blob.pushed', { repository: session.repository, digest, bytes: size, mounted: false })
  }

  async #end(session: UploadSession): Promise<void> {
    session.ended = true
    this.#sessions.delete(session.id)
    await this.#records.remove(session.id)
  }
}

/** The path of an upload, to be sent as Location: relative, so that it holds behind any proxy. */
export function uploadLocation(repository: string, session: string): string {
  return `/v2/${repository}/blobs/uploads/${session}`
}

/** `Range` of an upload: inclusive, cumulative and without a unit; `0-0` when there is nothing yet (end-5, end-13). */
export function receivedRange(size: number): string {
  return `0-${Math.max(0, size - 1)}`
}

function outOfOrder({ id, repository }: UploadSession, size: number): OciError {
  return new OciError('BLOB_UPLOAD_INVALID', `the chunk does not begin at ${size}, where the last one ended`, {
    status: 416,
    headers: { range: receivedRange(size), location: uploadLocation(repository, id), 'docker-upload-uuid': id },
  })
}

function unknownUpload(session: string, cause?: unknown): OciError {
  return new OciError('BLOB_UPLOAD_UNKNOWN', 'no such upload: begin it again', { detail: { session }, cause })
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
}
