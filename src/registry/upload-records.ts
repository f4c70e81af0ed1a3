import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Repository } from '../oci/reference.js'

/** What is written down of an upload when it begins, beside its part file. */
export interface UploadRecord {
  session: string
  repository: Repository
  /** Of the digest that is computed while the bytes arrive. */
  algorithm: string
  /** ms since the epoch */
  startedAt: number
  /** Whoever began it; empty: not known. */
  client: string
}

export interface FoundUpload {
  record: UploadRecord
  /** The last write to the part file, in ms since the epoch. */
  usedAt: number
}

/** `<session>.json` and `<session>.part` in one folder. A session is there when both are. */
export class UploadRecords {
  readonly #dir: string

  constructor({ dir }: { dir: string }) {
    this.#dir = dir
  }

  partFile(session: string): string {
    return join(this.#dir, `${session}.part`)
  }

  /** May be repeated where it failed. */
  async create(record: UploadRecord): Promise<void> {
    const { session } = record
    // A half of it that a crash leaves, or half a record, is no session.
    await Promise.all([
      writeFile(this.#recordFile(session), JSON.stringify(record)),
      writeFile(this.partFile(session), ''),
    ])
  }

  async remove(session: string): Promise<void> {
    await Promise.all([gone(this.#recordFile(session)), gone(this.partFile(session))])
  }

  /** The uploads that an earlier process left. Whatever else is there, halves that a crash left, is removed. */
  async load(): Promise<FoundUpload[]> {
    await mkdir(this.#dir, { recursive: true })
    const names = (await readdir(this.#dir)).filter((name) => /\.(?:part|json|json\.new)$/.test(name))
    const found = new Map<string, FoundUpload>()
    for (const session of new Set(names.map(sessionOf))) {
      const upload = await this.#find(session)
      if (upload) found.set(session, upload)
    }
    for (const name of names) if (!found.has(sessionOf(name))) await gone(join(this.#dir, name))
    return [...found.values()]
  }

  async #find(session: string): Promise<FoundUpload | undefined> {
    try {
      const record = parseRecord(await readFile(this.#recordFile(session), 'utf8'))
      const { mtimeMs } = await stat(this.partFile(session))
      return record?.session === session ? { record, usedAt: mtimeMs } : undefined
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  #recordFile(session: string): string {
    return join(this.#dir, `${session}.json`)
  }
}

function sessionOf(name: string): string {
  return name.split('.', 1)[0] ?? ''
}

async function gone(file: string): Promise<void> {
  try {
    await unlink(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function parseRecord(text: string): UploadRecord | undefined {
  try {
    const json = JSON.parse(text) as Partial<UploadRecord>
    const { session, repository, algorithm, startedAt, client = '' } = json
    if (typeof session !== 'string' || typeof repository !== 'string') return undefined
    if (typeof algorithm !== 'string' || typeof startedAt !== 'number') return undefined
    if (typeof client !== 'string') return undefined
    return { session, repository, algorithm, startedAt, client }
  } catch {
    return undefined
  }
}
