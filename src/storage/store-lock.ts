import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite'

/** Another process has the storage. */
export class StorageInUseError extends Error {
  override readonly name = 'StorageInUseError'
}

/**
 * The right to write a storage folder, held by one process at a time: SQLite's lock on a file of its own, which the
 * operating system takes back when the process dies, however it dies.
 */
export class StoreLock {
  readonly #db: DatabaseSyncInstance

  private constructor(db: DatabaseSyncInstance) {
    this.#db = db
  }

  /** @throws {StorageInUseError} */
  static acquire(file: string): StoreLock {
    const db = new DatabaseSync(file)
    try {
      db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE')
      db.exec('CREATE TABLE IF NOT EXISTS holder (pid INTEGER); BEGIN EXCLUSIVE')
      return new StoreLock(db)
    } catch (cause) {
      db.close()
      if (!/locked|busy/i.test((cause as Error).message)) throw cause
      throw new StorageInUseError('another entrepot is running on it', { cause })
    }
  }

  release(): void {
    this.#db.close()
  }
}
