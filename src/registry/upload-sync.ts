import { open } from 'node:fs/promises'

/**
 * Data that has not reached the disk yet is kept below about twice this, in bytes: so that the last request of a push,
 * which must wait until all of it has, takes no longer for a large blob than for a small one.
 */
const SYNC_EVERY = 32 * 1024 * 1024

/** Brings the part file of one upload to the disk while it grows, from request to request. */
export class UploadSync {
  readonly #file: string
  #startedAt = 0
  #running: Promise<void> | undefined
  #failure: { error: unknown } | undefined

  constructor({ file }: { file: string }) {
    this.#file = file
  }

  /** Whether data was lost on its way to the disk: nothing that is in the file can be relied on then. */
  get failed(): boolean {
    return this.#failure !== undefined
  }

  /** So much is in the file now, in bytes. Waits where the disk is far behind. @throws what a sync failed for */
  async wrote(size: number): Promise<void> {
    this.#check()
    if (size - this.#startedAt < SYNC_EVERY) return
    await this.#running
    this.#check()
    this.#startedAt = size
    this.#running = this.#sync()
  }

  /** Waits for what is under way. @throws what a sync failed for */
  async settled(): Promise<void> {
    await this.#running
    this.#check()
  }

  /**
   * Brings what is left of it to the disk: all that is in the file is there then. A failed sync is reported once, and the
   * next one succeeds over what was lost: so it must be the last one of this file, and not be repeated.
   *
   * @throws what a sync failed for
   */
  async finish(): Promise<void> {
    await this.settled()
    await this.#sync()
    this.#check()
  }

  /** Does not reject: nobody may be waiting. */
  async #sync(): Promise<void> {
    try {
      const handle = await open(this.#file, 'r+')
      try {
        await handle.datasync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#running = undefined
    }
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error
  }
}
