import type { FillReaders } from './fill-readers.js'
import type { RunningDigest } from './running-digest.js'
import { type Spool, WINDOW_BYTES } from './spool.js'

export interface BackpressureDeps {
  spool: Spool
  hash: RunningDigest
  readers: FillReaders
  /** Ends the download, which has nothing to do any more. */
  abort: AbortController
}

/** So much may wait to be written before the upstream is held back. */
const UNWRITTEN_LIMIT = 512 * 1024

/** Holds a download back that is quicker than what takes its bytes: the disk or, without a file, its readers. */
export class Backpressure {
  readonly #deps: BackpressureDeps

  constructor(deps: BackpressureDeps) {
    this.#deps = deps
  }

  /** Resolves when more may come. @throws when nobody takes it, or the download has ended */
  async relieved(): Promise<void> {
    const { spool } = this.#deps
    if (spool.keeps) await spool.drained(UNWRITTEN_LIMIT)
    else await this.#paced()
  }

  /** Without a file the slowest reader sets the pace, and without readers there is nothing to do. */
  async #paced(): Promise<void> {
    const { spool, hash, readers, abort } = this.#deps
    for (;;) {
      // It may still be reading what came out of turn, and is a reader like any other.
      await hash.follow(spool)
      const { slowest } = readers
      if (slowest === undefined) abort.abort(new Error('nobody reads it and it cannot be kept'))
      abort.signal.throwIfAborted()
      spool.trim(slowest ?? 0)
      if (spool.held.size - (slowest ?? 0) <= WINDOW_BYTES) return
      await readers.changed()
    }
  }
}
