import { statfs } from 'node:fs/promises'
import { fullDisk } from './full-disk.js'

const ASK_EVERY_MS = 1000

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
    if (this.#room < bytes) throw fullDisk()
    this.#room -= bytes
  }

  /** What is not enough is looked at again: something may have been deleted, and a refusal ends a request. */
  #isOutdated(bytes: number): boolean {
    const sinceMs = this.#deps.now() - this.#askedAt
    return sinceMs >= ASK_EVERY_MS || sinceMs < 0 || this.#room < bytes
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
