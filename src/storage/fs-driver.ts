import { randomUUID } from 'node:crypto'
import {
  access,
  type FileHandle,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { StorageDriver, StoredObject } from './driver.js'

const isMissing = (error: unknown) =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? '')

const MOVE_ATTEMPTS = 10
/** Of a folder, read in one go. */
const ENTRIES_AT_ONCE = 256

/** Objects as files below one folder. Writes go to a temporary name, are synced and moved into place. */
export class FsDriver implements StorageDriver {
  readonly name = 'fs'
  readonly #root: string
  readonly #staging: string
  /** Folders that a file is about to be moved into, or below, and by how many. */
  readonly #awaited = new Map<string, number>()

  /** @param stagingDir on the same file system as `root`; small objects are written there first */
  constructor({ root, stagingDir }: { root: string; stagingDir: string }) {
    this.#root = resolve(root)
    this.#staging = resolve(stagingDir)
  }

  async stat(key: string) {
    try {
      const facts = await stat(this.#path(key))
      return facts.isFile() ? { size: facts.size, modifiedAt: facts.mtimeMs } : undefined
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async open(key: string): Promise<StoredObject | undefined> {
    let handle: FileHandle
    try {
      handle = await open(this.#path(key))
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
    try {
      const facts = await handle.stat()
      if (facts.isFile()) return new OpenFile(handle, facts.size)
    } catch (error) {
      await handle.close()
      throw error
    }
    await handle.close()
    return undefined
  }

  async get(key: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#path(key))
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async put(key: string, bytes: Uint8Array | string): Promise<void> {
    const file = join(this.#staging, `${randomUUID()}.tmp`)
    try {
      const handle = await open(file, 'wx')
      try {
        await handle.writeFile(bytes)
      } finally {
        await handle.close()
      }
      await this.adopt(file, key)
    } catch (error) {
      await rm(file, { force: true })
      throw error
    }
  }

  async adopt(file: string, key: string): Promise<void> {
    const path = this.#path(key)
    await synced(file)
    const folders = this.#foldersAbove(path)
    for (const folder of folders) this.#awaited.set(folder, (this.#awaited.get(folder) ?? 0) + 1)
    try {
      await this.#moveInto(file, path)
    } finally {
      for (const folder of folders) this.#release(folder)
    }
  }

  async delete(key: string): Promise<void> {
    const path = this.#path(key)
    await rm(path, { force: true, recursive: false })
    await this.#dropEmptyParents(dirname(path))
  }

  async list(prefix: string): Promise<string[]> {
    try {
      const entries = await readdir(this.#path(prefix), { withFileTypes: true })
      return entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).sort()
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  async *names(prefix: string): AsyncGenerator<string> {
    try {
      for await (const entry of await opendir(this.#path(prefix), { bufferSize: ENTRIES_AT_ONCE })) {
        yield entry.isDirectory() ? `${entry.name}/` : entry.name
      }
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  tidy(prefix: string): Promise<void> {
    return this.#dropEmptyParents(this.#path(prefix))
  }

  async #moveInto(file: string, path: string): Promise<void> {
    const folder = dirname(path)
    for (let attempt = 1; ; attempt++) {
      try {
        const made = await mkdir(folder, { recursive: true })
        await rename(file, path)
        return await syncedUpTo(folder, made)
      } catch (error) {
        // A folder that was just being removed as empty may have gone after all; no removal begins while it is awaited.
        if (attempt === MOVE_ATTEMPTS || !isMissing(error) || !(await exists(file))) throw error
      }
    }
  }

  /** Keys have no folders of their own: one without keys below it is not there. */
  async #dropEmptyParents(directory: string): Promise<void> {
    for (const folder of this.#foldersAbove(join(directory, 'key'))) {
      if (this.#awaited.has(folder)) return
      try {
        await rmdir(folder)
      } catch {
        // Not empty; whatever else it is, the key is gone, which is what was asked for.
        return
      }
    }
  }

  #release(folder: string): void {
    const left = (this.#awaited.get(folder) ?? 0) - 1
    if (left > 0) this.#awaited.set(folder, left)
    else this.#awaited.delete(folder)
  }

  /** From the nearest up to the root, which is not among them. */
  #foldersAbove(path: string): string[] {
    const folders: string[] = []
    for (let at = dirname(path); at.length > this.#root.length; at = dirname(at)) folders.push(at)
    return folders
  }

  #path(key: string): string {
    return join(this.#root, key)
  }
}

class OpenFile implements StoredObject {
  constructor(
    readonly handle: FileHandle,
    readonly size: number,
  ) {}

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, position)
    return bytesRead
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** A new folder is there after a power failure only when the folder above it has been synced as well. */
async function syncedUpTo(folder: string, uppermostMade: string | undefined): Promise<void> {
  for (let at = folder; ; at = dirname(at)) {
    await synced(at)
    if (uppermostMade === undefined || at === dirname(uppermostMade)) return
  }
}

async function synced(path: string): Promise<void> {
  const handle = await open(path)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
