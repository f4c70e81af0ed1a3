import { isNoRoom } from '../lib/disk-faults.js'
import { OciError } from '../oci/errors.js'

/** SQLite's result code for a disk without room. */
const SQLITE_FULL = 13

/**
 * Runs work that writes, and tells the client when it failed for lack of room.
 *
 * @throws {OciError} UNAVAILABLE with status 507 (RFC 4918, 11.5); anything else as it was
 */
export async function writing<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof OciError || !isFullDisk(error)) throw error
    throw fullDisk(error)
  }
}

/** What the client is told. */
export function fullDisk(cause?: unknown): OciError {
  return new OciError('UNAVAILABLE', "the registry's disk is full: nothing more can be pushed until there is room", {
    status: 507,
    cause,
  })
}

/** Whether a write failed, or was not begun, for lack of room. */
export function isFullDisk(error: unknown): boolean {
  if (error instanceof OciError) return error.status === 507
  const { errcode } = (error ?? {}) as { errcode?: unknown }
  return isNoRoom(error) || errcode === SQLITE_FULL
}
