import { access, constants, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FsDriver } from './fs-driver.js'
import {
  fillsDir,
  indexFile,
  LAYOUT_VERSION,
  layoutKey,
  lockFile,
  stagingDir,
  tokenKeyFile,
  uploadsDir,
} from './layout.js'
import { StoreLock } from './store-lock.js'

/** A storage folder that is ours until `lock` is released. */
export interface Storage {
  driver: FsDriver
  lock: StoreLock
  /** Folders and files that are local by nature, as absolute paths. */
  fillsDir: string
  uploadsDir: string
  indexFile: string
  tokenKeyFile: string
}

/** The folder cannot be used as storage; the message says why and what to do. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
}

/**
 * Makes a folder ready: creates what is missing, takes the lock, checks the layout's version, sweeps what a crash left
 * in the staging folder.
 *
 * @throws {StorageError}
 */
export async function prepareStorage(path: string): Promise<Storage> {
  const dirs = { fillsDir: join(path, fillsDir), uploadsDir: join(path, uploadsDir) }
  const staging = join(path, stagingDir)
  let lock: StoreLock | undefined
  try {
    for (const dir of [path, ...Object.values(dirs)]) await makeFolder(dir)
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK)
    lock = StoreLock.acquire(join(path, lockFile))
    await mkdir(staging, { recursive: true })
    for (const name of await readdir(staging)) await rm(join(staging, name), { recursive: true, force: true })
    const driver = new FsDriver({ root: path, stagingDir: staging })
    await checkLayout(driver, path)
    return { driver, lock, ...dirs, indexFile: join(path, indexFile), tokenKeyFile: join(path, tokenKeyFile) }
  } catch (cause) {
    lock?.release()
    throw new StorageError(`storage.path ${path} cannot be used: ${explain(cause)}`, { cause })
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (error) {
    // Asked for the parents as well, Node calls a read-only file system a missing folder.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') await mkdir(path)
    throw error
  }
}

async function checkLayout(driver: FsDriver, path: string): Promise<void> {
  const bytes = await readFile(join(path, layoutKey)).catch(() => undefined)
  if (bytes === undefined) return driver.put(layoutKey, `${JSON.stringify({ version: LAYOUT_VERSION })}\n`)
  const version = Number(/"version"\s*:\s*(\d+)/.exec(bytes.toString())?.[1] ?? LAYOUT_VERSION)
  if (version > LAYOUT_VERSION)
    throw new Error(`it was written by a newer entrepot (layout ${version}, this one knows ${LAYOUT_VERSION})`)
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM') return `no permission to write there (user id ${process.getuid?.()})`
  if (code === 'EROFS') return 'it is on a read-only file system'
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk is full'
  if (code === 'ENOTDIR' || code === 'EEXIST') return 'there is a file where a folder is needed'
  return message
}
