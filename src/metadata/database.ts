import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite'
import { MIGRATIONS } from './schema.js'

/** @throws when the file is no database, is damaged, or was made by a newer version */
export function openDatabase(file: string): DatabaseSyncInstance {
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

/** @throws when a page of the file is damaged, with the database closed; reads all of it */
export function checkDatabase(db: DatabaseSyncInstance): void {
  const { quick_check: verdict } = db.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
  if (verdict === 'ok') return
  db.close()
  throw new Error(`index.db is damaged: ${verdict}`)
}

/** SQLite's primary result codes READONLY, IOERR, FULL and CANTOPEN: the place is wrong, not the content. */
export function isUnwritable(error: unknown): boolean {
  const { errcode } = error as { errcode?: number }
  return errcode !== undefined && [8, 10, 13, 14].includes(errcode & 0xff)
}
