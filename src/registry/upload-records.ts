import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
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
    await (await open(this.partFile(record.session), 'w')).close()
    const unfinished = join(this.#dir, `${record.session}.json.new`)
    const handle = await open(unfinished, 'w')
    try {
      await handle.writeFile(JSON.stringify(record))
    } finally {
      await handle.close()
    }
    await rename(unfinished, this.#recordFile(record.session))
  }

  async remove(session: string): Promise<void> {
    await rm(this.#recordFile(session), { force: true })
    await rm(`${this.#recordFile(session)}.new`, { force: true })
    await rm(this.partFile(session), { force: true })
  }

  /** The uploads that an earlier process left. Halves of one, which only a crash leaves, are removed. */
  async load(): Promise<FoundUpload[]> {
    await mkdir(this.#dir, { recursive: true })
    const sessions = new Set(
      (await readdir(this.#dir)).flatMap((name) => /^(.+?)\.(?:part|json|json\.new)$/.exec(name)?.[1] ?? []),
    )
    const found: FoundUpload[] = []
    for (const session of sessions) {
      const upload = await this.#find(session)
      if (upload) found.push(upload)
      else await this.remove(session)
    }
    return found
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
