import { existsSync, rmSync, statSync } from 'node:fs'
import type { DatabaseSyncInstance } from '@photostructure/sqlite'
import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'
import { leaveMark, takeMark } from './clean-mark.js'
import { checkDatabase, isUnwritable, openDatabase } from './database.js'
import type { BlobRow, CacheTotals, FoundBlob, MetadataIndex } from './metadata-index.js'
import { prepare, sizeOnDisk } from './statements.js'

/** Bytes of an index that is checked at each start; a larger one only after an unclean end. */
const ALWAYS_CHECKED = 64 * 1024 * 1024
const MEMORY = ':memory:'
/** The value that says that all stored files have been gone through once. */
const RECONCILED = 'reconciled'
/** A touch is written at the latest when this many have gathered. */
const TOUCH_BATCH = 1000
/** Rows kept in memory. */
const ROWS_LIMIT = 10_000

interface Row {
  digest: string
  size: number
  cached: number
  pushed: number
  source: string | null
  used_at: number
}

type CountedRow = Pick<Row, 'size' | 'cached' | 'pushed'> & { manifest: number }

export interface OpenedIndex {
  index: SqlIndex
  /** Nothing is known yet, or only a part, and the storage must be walked (`rebuild.ts`) before anything is served. */
  fresh: boolean
  /** It was closed in order the last time and lacks nothing. */
  clean: boolean
  /** With the file. */
  trouble?: { error: unknown; inMemory: boolean }
}

/** The index in one SQLite file in WAL mode. */
export class SqlIndex implements MetadataIndex {
  readonly #file: string
  readonly #db: DatabaseSyncInstance
  /** Whether it lacks nothing of what is stored. */
  #inLine = false
  readonly #now: () => number
  /** When, in ms since the epoch, in the order of the first uses. */
  readonly #touched = new Map<Digest, number>()
  /** As they are in the file: what is asked for often is found a dozen times as fast. */
  readonly #rows = new LRUCache<string, Row>({ max: ROWS_LIMIT })
  readonly #statements
  #totals: CacheTotals & { pushedBytes: number }

  /**
   * Opens the index, making it anew when it is absent, damaged or of a newer layout. Where the disk cannot be written
   * it is kept in memory: nothing is served worse, and the file is left as it is, to be compared with the stored files
   * when it is opened again.
   *
   * @throws when the mark of an orderly end cannot be taken away: what is written from now on would be missed later
   */
  static open({ file, now }: { file: string; now: () => number }): OpenedIndex {
    const existed = existsSync(file)
    // First of all, whatever becomes of the file: on a full disk it can be read and not be written.
    const marked = takeMark(file)
    try {
      const index = SqlIndex.#begin(file, marked, now)
      const fresh = !existed || index.getValue(RECONCILED) === undefined
      const clean = marked && !fresh
      index.#inLine = clean
      return { index, fresh, clean }
    } catch (error) {
      const inMemory = isUnwritable(error)
      if (!inMemory) for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
      const index = SqlIndex.#begin(inMemory ? MEMORY : file, false, now)
      return { index, fresh: true, clean: false, trouble: { error, inMemory } }
    }
  }

  static #begin(file: string, clean: boolean, now: () => number): SqlIndex {
    const index = new SqlIndex(file, now)
    // A page may be damaged although the end was an orderly one; reading so much takes a tenth of a second or so.
    if (!clean || (file !== MEMORY && statSync(file).size <= ALWAYS_CHECKED)) checkDatabase(index.#db)
    // Whether it can be written must be known now.
    index.setValue('opened', String(now()))
    return index
  }

  private constructor(file: string, now: () => number) {
    const db = openDatabase(file)
    this.#file = file
    this.#db = db
    this.#now = now
    this.#statements = prepare(db)
    this.#totals = this.#readTotals()
  }

  find(digest: Digest): BlobRow | undefined {
    const row = this.#rows.get(digest) ?? (this.#statements.find.get(digest) as Row | undefined)
    if (!row) return undefined
    this.#rows.set(digest, row)
    return this.#toBlobRow(row)
  }

  addCached(blob: { digest: Digest; size: number; manifest: boolean; source?: string | undefined }): void {
    this.#change(blob.digest, () => {
      const { digest, size, manifest, source } = blob
      this.#statements.addCached.run(digest, size, Number(manifest), source ?? null, this.#now())
    })
  }

  addPushed(blob: { digest: Digest; size: number; manifest: boolean }): void {
    this.#change(blob.digest, () => {
      const { digest, size, manifest } = blob
      this.#statements.addPushed.run(digest, size, Number(manifest), this.#now())
    })
  }

  addFound(blobs: readonly FoundBlob[]): number {
    let added = 0
    this.#transaction(() => {
      const at = this.#now()
      for (const { digest, size, manifest, pushed, children } of blobs) {
        const row = { digest, size, manifest: Number(manifest), pushed: Number(pushed), cached: Number(!pushed) }
        const { changes } = this.#statements.addFound.run(digest, size, row.manifest, row.pushed, at)
        if (Number(changes) > 0) {
          added++
          this.#countRow(row, 1)
        } else if (pushed) this.addPushed({ digest, size, manifest })
        if (children) this.setChildren(digest, children)
      }
    })
    return added
  }

  setChildren(parent: Digest, children: Digest[]): void {
    this.#transaction(() => {
      this.#statements.dropChildren.run(parent)
      for (const child of children) this.#statements.addChild.run(parent, child)
    })
  }

  drop(digest: Digest, role: 'cached' | 'pushed'): void {
    this.#change(digest, () => {
      this.#statements[role === 'cached' ? 'dropCached' : 'dropPushed'].run(digest)
      const { changes } = this.#statements.dropUnneeded.run(digest)
      if (Number(changes) > 0) this.#statements.dropChildren.run(digest)
    })
  }

  touch(digest: Digest): void {
    this.#touched.set(digest, this.#now())
    // Just reached, not beyond: where the flush fails it is left to the next timed one.
    if (this.#touched.size === TOUCH_BATCH) this.#flushIfWritable()
  }

  flush(): void {
    if (this.#touched.size === 0) return
    this.#transaction(() => {
      for (const [digest, at] of this.#touched) this.#statements.touch.run(digest, at)
    })
    this.#touched.clear()
    this.#rows.clear()
  }

  leastRecentlyUsed(limit: number): BlobRow[] {
    // On a full disk room must be made all the same, by the order that was written last.
    this.#flushIfWritable()
    return (this.#statements.oldest.all(limit) as unknown as Row[]).map((row) => this.#toBlobRow(row))
  }

  rowsAfter(last: Digest | undefined, limit: number): BlobRow[] {
    return (this.#statements.rowsAfter.all(last ?? '', limit) as unknown as Row[]).map((row) => this.#toBlobRow(row))
  }

  cacheTotals(): CacheTotals {
    const { blobs, manifests, sizeBytes } = this.#totals
    return { blobs, manifests, sizeBytes }
  }

  pushedBytes(): number {
    return this.#totals.pushedBytes
  }

  getValue(name: string): string | undefined {
    return (this.#statements.getValue.get(name) as { value: string } | undefined)?.value
  }

  setValue(name: string, value: string): void {
    this.#statements.setValue.run(name, value)
  }

  /** To be called when the index has been brought in line with the stored files (`rebuild.ts`). */
  reconciled(): void {
    this.#inLine = true
    try {
      this.setValue(RECONCILED, 'yes')
    } catch (error) {
      // On a full disk it goes unsaid: the next start goes through the files again.
      if (!isUnwritable(error)) throw error
    }
  }

  /** An index that was never in line with the files, or cannot be written, is compared with them at the next start. */
  close(): void {
    let written = false
    try {
      this.flush()
      // Otherwise the log may outlive the close, and all of it would be read again at the next start.
      const { busy } = this.#db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy: number }
      written = busy === 0
    } catch (error) {
      if (!isUnwritable(error)) throw error
    } finally {
      this.#db.close()
    }
    if (written && this.#inLine && this.#file !== MEMORY) leaveMark(this.#file)
  }

  /** For whoever does something else at the moment, which a full disk must not hinder. */
  #flushIfWritable(): void {
    try {
      this.flush()
    } catch (error) {
      if (!isUnwritable(error)) throw error
    }
  }

  #toBlobRow({ digest, size, cached, pushed, source, used_at: usedAt }: Row): BlobRow {
    return {
      digest: digest as Digest,
      size,
      cached: cached === 1,
      pushed: pushed === 1,
      source: source ?? undefined,
      // What is not written yet counts as well.
      usedAt: Math.max(usedAt, this.#touched.get(digest as Digest) ?? 0),
    }
  }

  /** Runs `work`, which may change one row, and keeps the running totals in step with it. */
  #change(digest: Digest, work: () => void): void {
    this.#transaction(() => {
      this.#count(digest, -1)
      work()
      this.#rows.delete(digest)
      this.#count(digest, 1)
    })
  }

  #count(digest: Digest, sign: 1 | -1): void {
    const row = this.#statements.find.get(digest) as CountedRow | undefined
    if (row) this.#countRow(row, sign)
  }

  #countRow(row: CountedRow, sign: 1 | -1): void {
    if (row.pushed) this.#totals.pushedBytes += sign * row.size
    if (!row.cached) return
    this.#totals[row.manifest ? 'manifests' : 'blobs'] += sign
    // What a push keeps anyway is not the cache's to answer for.
    if (!row.pushed) this.#totals.sizeBytes += sign * sizeOnDisk(row.size, Boolean(row.manifest))
  }

  #transaction(work: () => void): void {
    // Several changes together are one transaction.
    if (this.#db.isTransaction) return void work()
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      work()
      this.#db.exec('COMMIT')
    } catch (error) {
      // A full disk has rolled it back already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      this.#totals = this.#readTotals()
      this.#rows.clear()
      throw error
    }
  }

  #readTotals() {
    return this.#statements.totals.get() as unknown as CacheTotals & { pushedBytes: number }
  }
}
