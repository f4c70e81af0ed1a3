import { KeyedLock } from '../lib/keyed-lock.js'
import type { BlobReader } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { StorageDriver, StoredObject } from '../storage/driver.js'
import { blobKey } from '../storage/layout.js'
import type { BlobRow, MetadataIndex } from './metadata-index.js'
import { NotedUses } from './noted-uses.js'

/** On whose behalf a blob is kept: fetched and forgettable, or pushed here. */
export type BlobRole = 'cached' | 'pushed'

export interface NewBlob {
  digest: Digest
  /** bytes */
  size: number
  manifest: boolean
  /** The upstream it came from. */
  source?: string | undefined
}

export interface StoredBlob extends StoredObject {
  readonly row: BlobRow
}

/**
 * Complete, verified blobs and their rows, always changed together: the row first when a blob comes, the file first
 * when it goes, so that a crash leaves at worst a row without a file, which the next look at it removes.
 */
export class BlobStore {
  /** Called when nobody has some blob open any more. */
  onReleased = () => {}
  readonly #driver: StorageDriver
  readonly #index: MetadataIndex
  readonly #changing = new KeyedLock<Digest>()
  readonly #open = new Map<Digest, number>()
  /** While somebody notes them. */
  #used: NotedUses | undefined

  constructor({ driver, index }: { driver: StorageDriver; index: MetadataIndex }) {
    this.#driver = driver
    this.#index = index
  }

  /** The row of a blob kept in `role`; it says what should be here, `open` finds out. */
  find(digest: Digest, role: BlobRole): BlobRow | undefined {
    const row = this.#index.find(digest)
    return row?.[role] ? row : undefined
  }

  /**
   * Opens a blob kept in `role`. While it is open it is not evicted. A fetched one whose file is gone, or has another
   * size than was written, is dropped here; either kind reads as absent then.
   */
  async open(digest: Digest, role: BlobRole): Promise<StoredBlob | undefined> {
    const row = this.find(digest, role)
    if (!row) return undefined
    const blob = await this.#openWhole(row)
    if (blob) return blob
    // Its row comes before its file: it may be on its way at this moment.
    return this.#changing.run(digest, async () => {
      const latest = this.find(digest, role)
      const arrived = latest && (await this.#openWhole(latest))
      if (!arrived && role === 'cached') await this.#giveUp(digest, role)
      return arrived
    })
  }

  /** Publishes a finished file whose digest has matched. The file is gone afterwards. */
  adopt(file: string, blob: NewBlob, role: BlobRole): Promise<void> {
    return this.#publish(blob, role, () => this.#driver.adopt(file, blobKey(blob.digest)))
  }

  /** Publishes small content, a manifest for example, whose digest has matched. */
  put(bytes: Uint8Array, blob: Omit<NewBlob, 'size'>, role: BlobRole): Promise<void> {
    return this.#publish({ ...blob, size: bytes.length }, role, () => this.#driver.put(blobKey(blob.digest), bytes))
  }

  /** Keeps a blob that is already here, known to the index or not, for a push as well. @returns false when it is not here */
  async keep(digest: Digest): Promise<boolean> {
    this.#used?.add(digest)
    return this.#changing.run(digest, async () => {
      const stored = await this.#driver.stat(blobKey(digest))
      const row = this.#index.find(digest)
      if (!stored || (row && stored.size !== row.size)) return false
      this.#index.addPushed({ digest, size: stored.size, manifest: false })
      return true
    })
  }

  /**
   * Forgets that it was fetched; the file goes unless it was pushed as well.
   *
   * @returns false when it is being read and was left alone
   */
  async evict(digest: Digest): Promise<boolean> {
    return this.#changing.run(digest, async () => {
      if (this.#open.has(digest)) return false
      await this.#giveUp(digest, 'cached')
      return true
    })
  }

  /**
   * For whoever is about to tell a client that a blob is here: marks it as used now, and runs `work` while nothing of it
   * is collected. What `work` finds then stays for the grace period of the garbage collection.
   */
  using<Result>(digest: Digest, work: () => Promise<Result>): Promise<Result> {
    this.#index.touch(digest)
    this.#used?.add(digest)
    // A change that begins later sees the touch; one that has begun is waited for.
    return this.#changing.busy(digest) ? this.#changing.run(digest, work) : work()
  }

  /**
   * Notes from now on what is used or written, for one garbage collection: `unlessUsed` leaves it, wherever the clock was
   * set meanwhile.
   *
   * @returns to be called in the end
   */
  noteUses(): () => void {
    this.#used = new NotedUses()
    return () => {
      this.#used = undefined
    }
  }

  /**
   * Runs `work`, which takes away a link to a blob, unless the blob was used after `since` (ms since the epoch) or since
   * `noteUses`: nobody is told meanwhile that it is here.
   *
   * @returns what `work` returned; `undefined` when the blob was used
   */
  unlessUsed<Result>(digest: Digest, since: number, work: () => Promise<Result>): Promise<Result | undefined> {
    return this.#changing.run(digest, async () => {
      const row = this.#index.find(digest)
      return this.#used?.has(digest) || (row && row.usedAt > since) ? undefined : work()
    })
  }

  /** Drops the row of a blob whose file is gone. @returns false when the file is there after all */
  async dropLost(digest: Digest): Promise<boolean> {
    return this.#changing.run(digest, async () => {
      if (await this.#driver.stat(blobKey(digest))) return false
      for (const role of ['cached', 'pushed'] as const) this.#index.drop(digest, role)
      return true
    })
  }

  /**
   * Gives up what was pushed and is no longer linked, unless it was used or written after `since` (ms since the epoch).
   * Readers that are open finish; what is cached as well stays as the cache's.
   *
   * @param dryRun says what would go, and leaves it
   * @returns the bytes that this frees on disk; `undefined` when it was left alone
   */
  collect(digest: Digest, since: number, dryRun: boolean): Promise<number | undefined> {
    return this.unlessUsed(digest, since, async () => {
      const row = this.#index.find(digest)
      const file = await this.#driver.stat(blobKey(digest))
      if ((row && !row.pushed) || (file && file.modifiedAt > since)) return undefined
      if (!dryRun) await this.#giveUp(digest, 'pushed')
      return row?.cached ? 0 : (file?.size ?? 0)
    })
  }

  /** Gives up one role, whoever reads it: readers that are open finish, the file goes when no role is left. */
  async remove(digest: Digest, role: BlobRole): Promise<void> {
    await this.#changing.run(digest, () => this.#giveUp(digest, role))
  }

  async #publish(blob: NewBlob, role: BlobRole, write: () => Promise<void>): Promise<void> {
    this.#used?.add(blob.digest)
    await this.#changing.run(blob.digest, async () => {
      const before = this.find(blob.digest, role)
      this.#add(blob, role)
      try {
        await write()
      } catch (error) {
        if (!before) this.#index.drop(blob.digest, role)
        throw error
      }
    })
  }

  async #giveUp(digest: Digest, role: BlobRole): Promise<void> {
    const row = this.#index.find(digest)
    const needed = role === 'cached' ? row?.pushed : row?.cached
    // In a power failure the links to it must not outlive it; a fetched one is fetched again.
    if (!needed && role === 'pushed') await this.#driver.settle()
    if (!needed) await this.#driver.discard(blobKey(digest))
    this.#index.drop(digest, role)
  }

  async #openWhole(row: BlobRow): Promise<StoredBlob | undefined> {
    const { digest, size } = row
    this.#hold(digest)
    try {
      const object = await this.#driver.open(blobKey(digest))
      if (object?.size === size) return new HeldBlob(object, row, () => this.#letGo(digest))
      await object?.close()
    } catch (error) {
      this.#letGo(digest)
      throw error
    }
    this.#letGo(digest)
    return undefined
  }

  #add({ digest, size, manifest, source }: NewBlob, role: BlobRole): void {
    if (role === 'cached') this.#index.addCached({ digest, size, manifest, source })
    else this.#index.addPushed({ digest, size, manifest })
  }

  #hold(digest: Digest): void {
    this.#open.set(digest, (this.#open.get(digest) ?? 0) + 1)
  }

  #letGo(digest: Digest): void {
    const left = (this.#open.get(digest) ?? 0) - 1
    if (left > 0) return void this.#open.set(digest, left)
    this.#open.delete(digest)
    this.onReleased()
  }
}

class HeldBlob implements StoredBlob, BlobReader {
  readonly size: number
  #closed = false

  constructor(
    private readonly object: StoredObject,
    readonly row: BlobRow,
    private readonly letGo: () => void,
  ) {
    this.size = object.size
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.object.read(buffer, position)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.letGo()
    await this.object.close()
  }
}
