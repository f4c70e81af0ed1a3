import { randomUUID } from 'node:crypto'
import * as fs from 'node:fs'
import { access, type FileHandle, mkdir, open, opendir, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { KeyFacts, StorageDriver, StoredObject } from './driver.js'

const isMissing = (error: unknown) =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? '')

/** Over a file handle, as `node:fs/promises` has it, reading a small file takes more than three times as long. */
const readFile = promisify(fs.readFile)
const stat = promisify(fs.stat)

/** Of the process, for as many questions as can be answered at once. */
const BLOCKING_MS = 2
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
  /** Folders that this process knows to be there after a power failure. */
  readonly #lasting = new Set<string>()
  /** Folders out of which something was deleted since they were synced. */
  readonly #unsettled = new Set<string>()
  #settling: Promise<void> = Promise.resolve()

  /** @param stagingDir on the same file system as `root`; small objects are written there first */
  constructor({ root, stagingDir }: { root: string; stagingDir: string }) {
    this.#root = resolve(root)
    this.#staging = resolve(stagingDir)
  }

  async stat(key: string): Promise<KeyFacts | undefined> {
    try {
      return factsOf(await stat(this.#path(key)))
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async statAll(keys: readonly string[]): Promise<(KeyFacts | undefined)[]> {
    const began = performance.now()
    const known: (KeyFacts | undefined)[] = []
    // To hand one over costs several times what it takes where the disk need not be read; where it must, that shows.
    while (known.length < keys.length && performance.now() - began < BLOCKING_MS) {
      known.push(statNow(this.#path(keys[known.length]!)))
    }
    return [...known, ...(await Promise.all(keys.slice(known.length).map((key) => this.stat(key))))]
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
      await write(file, bytes)
      await this.#place(file, key)
    } catch (error) {
      await rm(file, { force: true })
      throw error
    }
  }

  async adopt(file: string, key: string): Promise<void> {
    await synced(file)
    await this.#place(file, key)
  }

  async delete(key: string): Promise<void> {
    const folder = await this.#remove(key)
    this.#unsettled.add(folder)
  }

  async discard(key: string): Promise<void> {
    await this.#remove(key)
  }

  settle(): Promise<void> {
    const settling = this.#settling.then(() => this.#syncUnsettled())
    // Each is told its own failure; the folder is left to the next one.
    this.#settling = settling.catch(() => {})
    return settling
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

  async tidy(prefix: string): Promise<void> {
    await this.#dropEmptyParents(this.#path(prefix))
  }

  /** @param file whose content is on stable storage */
  async #place(file: string, key: string): Promise<void> {
    const path = this.#path(key)
    const folders = this.#foldersAbove(path)
    for (const folder of folders) this.#awaited.set(folder, (this.#awaited.get(folder) ?? 0) + 1)
    try {
      await this.#moveInto(file, path)
    } finally {
      for (const folder of folders) this.#release(folder)
    }
  }

  async #moveInto(file: string, path: string): Promise<void> {
    const folder = dirname(path)
    for (let attempt = 1; ; attempt++) {
      try {
        await rename(file, path)
        return await this.#makeLasting(folder)
      } catch (error) {
        // A folder that was just being removed as empty may have gone after all; no removal begins while it is awaited.
        if (attempt === MOVE_ATTEMPTS || !isMissing(error) || !(await exists(file))) throw error
        await this.#make(folder)
      }
    }
  }

  async #make(folder: string): Promise<void> {
    const uppermost = await mkdir(folder, { recursive: true })
    if (uppermost === undefined) return
    for (let at = folder; at.length >= uppermost.length; at = dirname(at)) this.#lasting.delete(at)
  }

  /**
   * Syncs a folder, and those above it that need it: one is there after a power failure only when the one above it was synced
   * since it was made, by whomever: another put that is still at it, or a process that was killed.
   */
  async #makeLasting(folder: string): Promise<void> {
    const folders = this.#foldersAbove(join(folder, 'key'))
    const known = folders.findIndex((at) => this.#lasting.has(at))
    const unsure = folders.slice(0, known === -1 ? undefined : known)
    // At once: a file system that is asked for several together writes its journal for all of them.
    await Promise.all([folder, ...unsure.map((at) => dirname(at))].map(synced))
    for (const at of unsure) this.#lasting.add(at)
  }

  /** @returns the folder that is to be synced, so that it is gone for good */
  async #remove(key: string): Promise<string> {
    const path = this.#path(key)
    try {
      await unlink(path)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    return this.#dropEmptyParents(dirname(path))
  }

  /** Keys have no folders of their own: one without keys below it is not there. @returns the nearest folder that is left */
  async #dropEmptyParents(directory: string): Promise<string> {
    for (const folder of this.#foldersAbove(join(directory, 'key'))) {
      if (this.#awaited.has(folder)) return folder
      // Before it goes: whoever makes it anew meanwhile must sync it.
      this.#lasting.delete(folder)
      try {
        await rmdir(folder)
      } catch {
        // Not empty; whatever else it is, the key is gone, which is what was asked for.
        return folder
      }
    }
    return this.#root
  }

  async #syncUnsettled(): Promise<void> {
    for (const folder of this.#unsettled) {
      this.#unsettled.delete(folder)
      try {
        await synced(folder)
      } catch (error) {
        // Gone as empty since then: it has left its parent to be synced, or was discarded for good.
        this.#unsettled.add(isMissing(error) ? dirname(folder) : folder)
        if (!isMissing(error)) throw error
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

function factsOf(facts: fs.Stats | undefined): KeyFacts | undefined {
  return facts?.isFile() ? { size: facts.size, modifiedAt: facts.mtimeMs } : undefined
}

function statNow(path: string): KeyFacts | undefined {
  try {
    return factsOf(fs.statSync(path, { throwIfNoEntry: false }))
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** On stable storage; of an empty file there is nothing that its folder's sync does not bring there. */
async function write(path: string, bytes: Uint8Array | string): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    if (bytes.length === 0) return
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
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
