import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../oci/digest.js'
import { digestOfPartFile, partFile, rangesFile } from '../storage/layout.js'

const RANGES = rangesFile('.part')

/** A part file that nobody is filling. */
interface Leftover {
  sizeBytes: number
  modifiedAt: number
}

/**
 * The part files and what they take: those being filled, each counted with its whole size so that room is made in
 * time, and those left by a fill that ended early or by an earlier process.
 */
export class PartFolder {
  readonly #dir: string
  readonly #filling = new Map<Digest, number>()
  readonly #leftovers = new Map<Digest, Leftover>()

  private constructor(dir: string) {
    this.#dir = dir
  }

  /** Takes stock of what an earlier process left. */
  static async open(dir: string): Promise<PartFolder> {
    const folder = new PartFolder(dir)
    const names = new Set(await readdir(dir))
    for (const name of names) {
      const digest = digestOfPartFile(name)
      if (!digest) continue
      names.delete(rangesFile(name))
      await folder.#takeStock(digest)
    }
    // A journal whose part file was published or removed as the process ended.
    for (const name of names) if (name.endsWith(RANGES)) await rm(join(dir, name), { force: true })
    return folder
  }

  /** On disk now or soon, in bytes. */
  get sizeBytes(): number {
    const filling = [...this.#filling.values()].reduce((sum, size) => sum + size, 0)
    return [...this.#leftovers.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, filling)
  }

  path(digest: Digest): string {
    return join(this.#dir, partFile(digest))
  }

  /** A fill has begun; `resize` when it knows how large it gets. */
  begin(digest: Digest): void {
    this.#filling.set(digest, this.#leftovers.get(digest)?.sizeBytes ?? 0)
    this.#leftovers.delete(digest)
  }

  resize(digest: Digest, sizeBytes: number): void {
    if (this.#filling.has(digest)) this.#filling.set(digest, sizeBytes)
  }

  /** The fill has ended; what is left of its part file is continued by the next one, or goes by age. */
  async end(digest: Digest): Promise<void> {
    this.#filling.delete(digest)
    await this.#takeStock(digest)
  }

  /** Removes what nobody has continued since `before`, in ms since the epoch. */
  async sweep(before: number): Promise<void> {
    for (const [digest, { modifiedAt }] of this.#leftovers) if (modifiedAt < before) await this.#remove(digest)
  }

  /** Removes the oldest leftover. @returns bytes freed; `undefined` when there is none */
  async removeOldest(): Promise<number | undefined> {
    const [oldest] = [...this.#leftovers].sort(([, a], [, b]) => a.modifiedAt - b.modifiedAt)
    if (!oldest) return undefined
    await this.#remove(oldest[0])
    return oldest[1].sizeBytes
  }

  async #remove(digest: Digest): Promise<void> {
    this.#leftovers.delete(digest)
    await rm(this.path(digest), { force: true })
    await rm(rangesFile(this.path(digest)), { force: true })
  }

  async #takeStock(digest: Digest): Promise<void> {
    const facts = await stat(this.path(digest)).catch(() => undefined)
    if (facts && !this.#filling.has(digest))
      this.#leftovers.set(digest, { sizeBytes: facts.size, modifiedAt: facts.mtimeMs })
  }
}
