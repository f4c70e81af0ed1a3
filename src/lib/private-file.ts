import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Puts a file in place whole or not at all, readable by its owner alone (0600) and on stable storage when the promise
 * resolves. A file that was there keeps its owner; a symbolic link is followed.
 */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const before = await stat(path).catch(unlessMissing)
  const target = before ? await realpath(path) : path
  const staged = join(dirname(target), `.${basename(target)}.${randomUUID()}`)
  try {
    const file = await open(staged, 'wx', 0o600)
    try {
      const own = await file.stat()
      if (before && (before.uid !== own.uid || before.gid !== own.gid)) await file.chown(before.uid, before.gid)
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(staged, target)
  } catch (error) {
    await rm(staged, { force: true })
    throw error
  }
  await syncFolder(dirname(target))
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
