import { existsSync, rmSync, statSync } from 'node:fs'
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite'
import type { Digest } from '../oci/digest.js'
import type { BlobRow, CacheTotals, MetadataIndex } from './metadata-index.js'
import { MIGRATIONS } from './schema.js'

/** Bytes of an index that is checked at each start; a larger one only after an unclean end. */
const ALWAYS_CHECKED = 64 * 1024 * 1024
const MEMORY = ':memory:'
/** A touch is written at the latest when this many have gathered. */
const TOUCH_BATCH = 1000
/** Files take whole blocks; a manifest's link takes one more. */
const BLOCK = 4096

interface Row {
  digest: string
  size: number
  cached: number
  pushed: number
  source: string | null
  used_at: number
}

export interface OpenedIndex {
  index: SqlIndex
  fresh: boolean
  clean: boolean
  trouble?: { error: unknown; inMemory: boolean }
}

/** The index in one SQLite file in WAL mode. */
export class SqlIndex implements MetadataIndex {
  readonly #db: DatabaseSyncInstance
  readonly #now: () => number
  /** When, in ms since the epoch, in the order of the first uses. */
  readonly #touched = new Map<Digest, number>()
  readonly #statements
  #totals: CacheTotals & { pushedBytes: number }

  /**
   * Opens the index, making it anew when it is absent, damaged or of a newer layout. Where the disk cannot be written
   * it is kept in memory: nothing is served worse, and the file is left as it is.
   *
   * @returns `fresh` when nothing is known yet and the storage must be walked (`rebuild.ts`); `clean` when it was
   *   closed in order the last time; `trouble` with the file, when there was some
   */
  static open({ file, now }: { file: string; now: () => number }): OpenedIndex {
    const existed = existsSync(file)
    try {
      return { ...SqlIndex.#begin(file, now), fresh: !existed }
    } catch (trouble) {
      const place = isUnwritable(trouble) ? MEMORY : file
      if (place === file) for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
      return { ...SqlIndex.#begin(place, now), fresh: true, trouble: { error: trouble, inMemory: place !== file } }
    }
  }

  static #begin(file: string, now: () => number): { index: SqlIndex; clean: boolean } {
    const index = new SqlIndex(openDatabase(file), now)
    const clean = index.getValue('closed') === 'clean'
    // A page may be damaged although the end was an orderly one; reading so much takes a tenth of a second or so.
    if (!clean || (file !== MEMORY && statSync(file).size <= ALWAYS_CHECKED)) index.#check()
    index.setValue('closed', 'no')
    return { index, clean }
  }

  private constructor(db: DatabaseSyncInstance, now: () => number) {
    this.#db = db
    this.#now = now
    this.#statements = prepare(db)
    this.#totals = this.#readTotals()
  }

  find(digest: Digest): BlobRow | undefined {
    const row = this.#statements.find.get(digest) as Row | undefined
    return row && this.#toBlobRow(row)
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

  together(work: () => void): void {
    this.#transaction(work)
  }

  touch(digest: Digest): void {
    this.#touched.set(digest, this.#now())
    // Just reached, not beyond: where the flush fails it is left to the next timed one.
    if (this.#touched.size === TOUCH_BATCH) this.flush()
  }

  flush(): void {
    if (this.#touched.size === 0) return
    this.#transaction(() => {
      for (const [digest, at] of this.#touched) this.#statements.touch.run(digest, at)
    })
    this.#touched.clear()
  }

  leastRecentlyUsed(limit: number): BlobRow[] {
    try {
      this.flush()
    } catch (error) {
      // On a full disk room must be made all the same, by the order that was written last.
      if (!isUnwritable(error)) throw error
    }
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

  close(): void {
    try {
      this.flush()
      this.setValue('closed', 'clean')
      // Otherwise the log may outlive the close, and all of it would be read again at the next start.
      this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } catch (error) {
      // On a full disk the stamp is missing: the next start compares the index with the files.
      if (!isUnwritable(error)) throw error
    } finally {
      this.#db.close()
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

  /** @throws when a page of the file is damaged; reads all of it */
  #check(): void {
    const { quick_check: verdict } = this.#db.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
    if (verdict === 'ok') return
    this.#db.close()
    throw new Error(`index.db is damaged: ${verdict}`)
  }

  /** Runs `work`, which may change one row, and keeps the running totals in step with it. */
  #change(digest: Digest, work: () => void): void {
    this.#transaction(() => {
      this.#count(digest, -1)
      work()
      this.#count(digest, 1)
    })
  }

  #count(digest: Digest, sign: 1 | -1): void {
    const row = this.#statements.find.get(digest) as (Row & { manifest: number }) | undefined
    if (!row) return
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
      throw error
    }
  }

  #readTotals() {
    return this.#statements.totals.get() as unknown as CacheTotals & { pushedBytes: number }
  }
}

/** SQLite's primary result codes READONLY, IOERR, FULL and CANTOPEN: the place is wrong, not the content. */
function isUnwritable(error: unknown): boolean {
  const { errcode } = error as { errcode?: number }
  return errcode !== undefined && [8, 10, 13, 14].includes(errcode & 0xff)
}

/** What a blob of `size` bytes takes on disk. */
export function sizeOnDisk(size: number, manifest: boolean): number {
  return Math.ceil(size / BLOCK) * BLOCK + (manifest ? BLOCK : 0)
}

/** @throws when the file is no database, is damaged, or was made by a newer version */
function openDatabase(file: string): DatabaseSyncInstance {
  const db = new DatabaseSync(file)
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000')
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version > MIGRATIONS.length)
      throw new Error(`index.db has version ${version}, this program knows ${MIGRATIONS.length}`)
    for (const [step, sql] of MIGRATIONS.entries()) {
      if (step >= version) db.exec(`BEGIN; ${sql} PRAGMA user_version = ${step + 1}; COMMIT`)
    }
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function prepare(db: DatabaseSyncInstance) {
  const block = `((size + ${BLOCK - 1}) / ${BLOCK} * ${BLOCK} + manifest * ${BLOCK})`
  return {
    find: db.prepare('SELECT digest, size, manifest, cached, pushed, source, used_at FROM blobs WHERE digest = ?'),
    addCached: db.prepare(
      `INSERT INTO blobs (digest, size, manifest, cached, source, used_at) VALUES (?1, ?2, ?3, 1, ?4, ?5)
       ON CONFLICT DO UPDATE SET size = ?2, cached = 1, source = coalesce(?4, source), used_at = ?5`,
    ),
    addPushed: db.prepare(
      `INSERT INTO blobs (digest, size, manifest, pushed, used_at) VALUES (?1, ?2, ?3, 1, ?4)
       ON CONFLICT DO UPDATE SET size = ?2, pushed = 1, used_at = ?4`,
    ),
    dropCached: db.prepare('UPDATE blobs SET cached = 0 WHERE digest = ?'),
    dropPushed: db.prepare('UPDATE blobs SET pushed = 0 WHERE digest = ?'),
    dropUnneeded: db.prepare('DELETE FROM blobs WHERE digest = ? AND cached = 0 AND pushed = 0'),
    dropChildren: db.prepare('DELETE FROM children WHERE parent = ?'),
    addChild: db.prepare('INSERT OR IGNORE INTO children (parent, child) VALUES (?, ?)'),
    touch: db.prepare(
      `WITH RECURSIVE used (digest) AS (VALUES (?1) UNION SELECT child FROM children JOIN used ON parent = used.digest)
       UPDATE blobs SET used_at = max(used_at, ?2) WHERE digest IN (SELECT digest FROM used)`,
    ),
    oldest: db.prepare(
      `SELECT digest, size, cached, pushed, source, used_at FROM blobs
       WHERE cached = 1 AND pushed = 0 ORDER BY used_at LIMIT ?`,
    ),
    rowsAfter: db.prepare(
      'SELECT digest, size, cached, pushed, source, used_at FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?',
    ),
    totals: db.prepare(
      `SELECT coalesce(sum(cached = 1 AND manifest = 0), 0) AS blobs,
              coalesce(sum(cached = 1 AND manifest = 1), 0) AS manifests,
              coalesce(sum(CASE WHEN cached = 1 AND pushed = 0 THEN ${block} ELSE 0 END), 0) AS sizeBytes,
              coalesce(sum(CASE WHEN pushed = 1 THEN size ELSE 0 END), 0) AS pushedBytes
       FROM blobs`,
    ),
    getValue: db.prepare('SELECT value FROM vals WHERE name = ?'),
    setValue: db.prepare('INSERT INTO vals (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2'),
  }
}
