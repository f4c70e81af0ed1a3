import type { Logger } from 'pino'
import { z } from 'zod'
import { Tally, tallyRecord } from './tally.js'

/** Keeps small documents by name, across restarts. */
export interface ValueStore {
  getValue(name: string): string | undefined
  setValue(name: string, value: string): void
}

const storedTally = z.strictObject({ version: z.literal(1), since: z.int().nonnegative(), tally: tallyRecord })

export interface StoredTallyOptions {
  /** Its name in the store. */
  name: string
  store: ValueStore
  log: Logger
  namesLimit: number
}

/** A tally that begins at a time and is kept under a name. */
export class StoredTally {
  readonly #name: string
  readonly #store: ValueStore
  readonly #namesLimit: number
  #since: number
  #tally: Tally
  #changed = false

  private constructor({ name, store, namesLimit }: StoredTallyOptions, since: number, tally: Tally) {
    this.#name = name
    this.#store = store
    this.#namesLimit = namesLimit
    this.#since = since
    this.#tally = tally
  }

  /** What was kept, or an empty one since `since` where nothing readable was; a damaged one is said in the log. */
  static load(options: StoredTallyOptions, since: number): StoredTally {
    const { name, store, log, namesLimit } = options
    const text = store.getValue(name)
    const empty = new StoredTally(options, since, new Tally(namesLimit))
    if (text === undefined) return empty
    const stored = parseStored(text)
    if (stored.success) return new StoredTally(options, stored.data.since, new Tally(namesLimit, stored.data.tally))
    log.warn({ value: name, err: stored.error }, 'stored statistics are unreadable: this part starts anew')
    return empty
  }

  /** ms since the epoch */
  get since(): number {
    return this.#since
  }

  get tally(): Tally {
    return this.#tally
  }

  record(change: (tally: Tally) => void): void {
    change(this.#tally)
    this.#changed = true
  }

  /** Forgets what it counted and begins again. */
  restart(since: number): void {
    this.#since = since
    this.#tally = new Tally(this.#namesLimit)
    this.#changed = true
  }

  /** Writes it if it changed. @throws what the store throws; it counts as changed then, and can be saved again */
  save(): void {
    if (!this.#changed) return
    this.#store.setValue(this.#name, JSON.stringify({ version: 1, since: this.#since, tally: this.#tally }))
    this.#changed = false
  }
}

function parseStored(
  text: string,
): z.ZodSafeParseResult<z.infer<typeof storedTally>> | { success: false; error: Error } {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return { success: false, error: error as Error }
  }
  return storedTally.safeParse(json)
}
