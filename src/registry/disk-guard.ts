import { statfs } from 'node:fs/promises'
import { abortable } from '../lib/abortable.js'
import { OciError } from '../oci/errors.js'
import { fullDisk, isFullDisk, writing } from './full-disk.js'

const ASK_EVERY_MS = 1000
/** Room is made for so many bytes more than are lacking: not for each piece of a body anew. */
const AHEAD = 32 * 1024 * 1024
const PATIENCE_MS = 10_000
/** What came free may be taken by others before it is looked at. */
const ATTEMPTS = 3

/** Writes something, and can be repeated. */
type Work = () => Promise<unknown>

/** Whoever keeps what can be had again. */
export interface RoomMaker {
  /** In bytes, what it could give up. */
  readonly sizeBytes: number
  /** Gives up about so many bytes. @returns false when nothing went */
  makeRoom(bytes: number): Promise<boolean>
}

export interface DiskGuardDeps {
  /** On the file system that is looked after. */
  folder: string
  /** Bytes that uploads leave free; 0: none, and the disk is never asked. */
  minFreeBytes: number
  room: RoomMaker
  now: () => number
  /** A request waits so long at most until room has been made. */
  patienceMs?: number
}

/**
 * Keeps uploads from the last of the disk, which links, tags and the index need, and has room made for what is pushed. The
 * disk is asked about once a second; between two answers what was let through is counted.
 */
export class DiskGuard {
  readonly #deps: DiskGuardDeps
  /** Bytes that may still be written, as far as is known. */
  #room = 0
  #askedAt = Number.NEGATIVE_INFINITY
  #asking: Promise<void> | undefined

  constructor(deps: DiskGuardDeps) {
    this.#deps = deps
  }

  /** Lets `bytes` through, to be written now. @throws {OciError} UNAVAILABLE (507) when they would use up the reserve */
  async take(bytes: number): Promise<void> {
    if (this.#deps.minFreeBytes === 0) return
    if (this.#isOutdated(bytes)) await this.#look()
    for (let attempt = 0; this.#room < bytes; attempt++) {
      if (attempt === ATTEMPTS || !(await this.#gain(bytes - this.#room))) throw fullDisk()
      await this.#look()
    }
    this.#room -= bytes
  }

  /**
   * Looks whether there is room for `bytes` that are said to come, or could be made. None is made for what is only said.
   *
   * @throws {OciError} UNAVAILABLE (507) when they would use up the reserve
   */
  async expect(bytes: number): Promise<void> {
    const { minFreeBytes, room } = this.#deps
    if (minFreeBytes === 0) return
    if (this.#isOutdated(bytes)) await this.#look()
    if (this.#room + room.sizeBytes < bytes) throw fullDisk()
  }

  /**
   * Runs work that writes, a few times more where room could be made for it: to be repeatable, then.
   *
   * @throws {OciError} UNAVAILABLE with status 507; anything else as it was
   */
  async writing<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof OciError || !isFullDisk(error)) throw error
      if (!(await this.#gain(1))) throw fullDisk(error)
      return writing(work)
    }
  }

  /** Each as `writing` does, one after the other. @returns those for which there is no room */
  async writeWhatFits(works: readonly Work[]): Promise<Work[]> {
    const left: Work[] = []
    for (const work of works) {
      try {
        await this.writing(work)
      } catch (error) {
        if (!isFullDisk(error)) throw error
        left.push(work)
      }
    }
    return left
  }

  /** What is not enough is looked at again: something may have been deleted, and a refusal ends a request. */
  #isOutdated(bytes: number): boolean {
    const sinceMs = this.#deps.now() - this.#askedAt
    return sinceMs >= ASK_EVERY_MS || sinceMs < 0 || this.#room < bytes
  }

  async #gain(lacking: number): Promise<boolean> {
    const { room, patienceMs = PATIENCE_MS } = this.#deps
    const making = room.makeRoom(lacking + AHEAD).then((gained) => gained || room.makeRoom(lacking))
    const patience = AbortSignal.timeout(patienceMs)
    try {
      return await abortable(making, patience)
    } catch (error) {
      if (patience.aborted) return false
      throw error
    }
  }

  async #look(): Promise<void> {
    this.#asking ??= this.#ask()
    await this.#asking
  }

  async #ask(): Promise<void> {
    const { folder, minFreeBytes, now } = this.#deps
    try {
      const { bavail, bsize } = await statfs(folder)
      this.#room = bavail * bsize - minFreeBytes
      this.#askedAt = now()
    } finally {
      this.#asking = undefined
    }
  }
}
