import { type FileHandle, open, readFile, rm } from 'node:fs/promises'
import type { Span } from '../lib/range-set.js'

/** Of what was noted, so much may be lost to a crash: it is fetched again. */
const UNSAVED_LIMIT = 1024 * 1024

/**
 * Which spans of a part file are there, in a file beside it, for one that is not written from its beginning on: a line
 * `<from>-<to>` for each, appended once the bytes are in the part file. A line that a crash cut off does not count.
 */
export class RangeJournal {
  readonly #path: string
  #handle: FileHandle | undefined
  #unsaved: Span[] = []
  #unsavedBytes = 0

  constructor(path: string) {
    this.#path = path
  }

  /** Whether it is being kept. */
  get begun(): boolean {
    return this.#handle !== undefined
  }

  /** What an earlier process has noted; `undefined` when there is no journal. */
  async load(): Promise<Span[] | undefined> {
    try {
      const lines = (await readFile(this.#path, 'latin1')).split('\n').slice(0, -1)
      return lines.flatMap((line) => {
        const [, from, to] = /^(\d{1,15})-(\d{1,15})$/.exec(line) ?? []
        return from === undefined ? [] : [{ from: Number(from), to: Number(to) }]
      })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Begins anew with what is in the part file already. */
  async begin(spans: readonly Span[]): Promise<void> {
    this.#handle = await open(this.#path, 'w')
    this.#unsaved = [...spans]
    await this.#save()
  }

  /** Notes what is in the part file now; must not be called again before it has resolved. */
  async note(from: number, to: number): Promise<void> {
    const last = this.#unsaved.at(-1)
    if (last?.to === from) last.to = to
    else this.#unsaved.push({ from, to })
    this.#unsavedBytes += to - from
    if (this.#unsavedBytes >= UNSAVED_LIMIT) await this.#save()
  }

  async close(): Promise<void> {
    if (!this.#handle) return
    try {
      await this.#save()
    } finally {
      await this.#handle.close()
      this.#handle = undefined
    }
  }

  /** Closes and removes it: from here on the part file counts from its beginning to its end. */
  async remove(): Promise<void> {
    await this.#handle?.close()
    this.#handle = undefined
    this.#unsaved = []
    this.#unsavedBytes = 0
    await rm(this.#path, { force: true })
  }

  async #save(): Promise<void> {
    const lines = this.#unsaved.map(({ from, to }) => `${from}-${to}\n`).join('')
    this.#unsaved = []
    this.#unsavedBytes = 0
    if (lines) await this.#handle?.appendFile(lines)
  }
}
