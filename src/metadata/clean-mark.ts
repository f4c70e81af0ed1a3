import { closeSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * The mark of an orderly end: an empty file beside the database, not a value in it. The last commits in a log that is not
 * synced are lost in a power failure, that they began among them, and a full disk takes no commit; a file can be removed.
 */
const markOf = (file: string) => `${file}.clean`

/**
 * Takes the mark away, on stable storage when this returns. @returns whether it was there
 *
 * @throws when it is there and cannot be removed
 */
export function takeMark(file: string): boolean {
  try {
    rmSync(markOf(file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  const folder = openSync(dirname(file), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
  return true
}

/** To be called when all of the database is on stable storage. */
export function leaveMark(file: string): void {
  try {
    writeFileSync(markOf(file), '')
  } catch {
    // On a full disk, for example: all that it costs is that the next start compares the index with the files.
  }
}
