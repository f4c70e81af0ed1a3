import type { Logger } from 'pino'
import { delay } from '../lib/abortable.js'
import type { StorageDriver } from '../storage/driver.js'
import { rebuild } from './rebuild.js'
import type { SqlIndex } from './sql-index.js'

const AGAIN_AFTER_MS = 60_000

export interface ReconciliationDeps {
  driver: StorageDriver
  index: SqlIndex
  /** Whether the index lacks nothing. */
  clean: boolean
  isLocal: (name: string) => boolean
  log: Logger
}

/** Brings the index in line with the stored files. */
export class Reconciliation {
  /**
   * Resolves when the index may be trusted: before that, something pushed may be taken for something fetched, or for
   * nothing at all. Rejects when it is stopped before.
   */
  readonly trusted: Promise<void>
  readonly #deps: ReconciliationDeps
  readonly #ending = new AbortController()
  #trust!: () => void
  #done: boolean
  #running: Promise<void> | undefined

  constructor(deps: ReconciliationDeps) {
    this.#deps = deps
    this.#done = deps.clean
    this.trusted = new Promise((resolve, reject) => {
      this.#trust = resolve
      this.#ending.signal.addEventListener('abort', () => reject(this.#ending.signal.reason))
    })
    // Nobody need be waiting.
    this.trusted.catch(() => {})
    if (this.#done) this.#trust()
  }

  /** Goes through all that is stored. @throws when a file or the index cannot be read or written */
  async run(): Promise<void> {
    const { log, ...deps } = this.#deps
    const found = await rebuild(deps)
    if (found.added > 0) log.info(found, 'index brought in line with the stored files')
    deps.index.reconciled()
    this.#done = true
    this.#trust()
  }

  /** Runs beside everything else, unless there is nothing to do, and after a failure again. */
  start(): void {
    this.#running ??= this.#untilDone()
  }

  /** Waits for the run under way. */
  async stop(): Promise<void> {
    this.#ending.abort(new Error('the server stops'))
    await this.#running
  }

  async #untilDone(): Promise<void> {
    const { signal } = this.#ending
    while (!this.#done && !signal.aborted) {
      try {
        await this.run()
      } catch (err) {
        const hint = 'the index cannot be compared with the stored files: until it is, nothing is evicted or collected'
        this.#deps.log.error({ err }, hint)
        await delay(AGAIN_AFTER_MS, signal).catch(() => {})
      }
    }
  }
}
