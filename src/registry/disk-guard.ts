import { statfs } from 'node:fs/promises'
import { fullDisk } from './full-disk.js'

const ASK_EVERY_MS = 1000
const FOUND_FULL = -1

export interface DiskGuardDeps {
  /** On the file system that is looked after. */
  folder: string
  /** Bytes that uploads leave free; 0: none, and the disk is never asked. */
  minFreeBytes: number
  now: () => number
}

/**
 * Keeps uploads from the last of the disk, which links, tags and the index need. The disk is asked about once a second;
 * between two answers what was let through is counted.
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
    if (this.#isOutdated(bytes)) {
      this.#asking ??= this.#ask()
      await this.#asking
    }
    if (this.#room < bytes) {
      this.#room = FOUND_FULL
      throw fullDisk()
    }
    this.#room -= bytes
  }

  /** Room that was used up may be there again; a disk that was found full is left alone for a second. */
  #isOutdated(bytes: number): boolean {
    const sinceMs = this.#deps.now() - this.#askedAt
    return sinceMs >= ASK_EVERY_MS || sinceMs < 0 || (this.#room >= 0 && this.#room < bytes)
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
