import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** What stays of the mode of a file that was there: its group may read it, everybody else may not. */
const KEPT = 0o640

/**
 * Puts a file in place whole or not at all, on stable storage when the promise resolves. A new one is readable by its owner
 * alone (0600); one that was there keeps its owner, its group and whether these may read it, so that a server that runs as
 * another user reads it as before. A symbolic link is followed.
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
      // After the owner: until then the group is that of whoever runs this.
      if (before) await file.chmod(before.mode & KEPT)
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
