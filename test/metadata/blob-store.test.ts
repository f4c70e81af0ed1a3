import { randomBytes } from 'node:crypto'
import { rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BlobStore, type StoredBlob } from '../../src/metadata/blob-store.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import type { StorageDriver } from '../../src/storage/driver.js'
import { blobKey } from '../../src/storage/layout.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let store: BlobStore

beforeEach(async () => {
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  store = storage.store
})

afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

const content = randomBytes(5000)
const digest = digestOf(content)
const pathOf = (of: Digest) => join(folder.path, blobKey(of))

async function staged(bytes: Uint8Array = content): Promise<string> {
  const file = join(storage.stagingDir, randomBytes(8).toString('hex'))
  await writeFile(file, bytes)
  return file
}

async function adopt(role: 'cached' | 'pushed' = 'cached', source?: string) {
  await store.adopt(await staged(), { digest, size: content.length, manifest: false, source }, role)
}

async function digestIn(blob: StoredBlob | undefined): Promise<Digest> {
  const buffer = Buffer.alloc(blob!.size)
  await blob!.read(buffer, 0)
  return digestOf(buffer)
}

/** The driver, with a step put before one of its writes. */
function withStep(before: () => Promise<void>): StorageDriver {
  const { driver } = storage
  return {
    name: driver.name,
    stat: (key) => driver.stat(key),
    statAll: (keys) => driver.statAll(keys),
    open: (key) => driver.open(key),
    get: (key) => driver.get(key),
    put: (key, bytes) => before().then(() => driver.put(key, bytes)),
    adopt: (file, key) => before().then(() => driver.adopt(file, key)),
    delete: (key) => driver.delete(key),
    discard: (key) => driver.discard(key),
    settle: () => driver.settle(),
    list: (prefix) => driver.list(prefix),
    names: (prefix) => driver.names(prefix),
    tidy: (prefix) => driver.tidy(prefix),
  }
}

describe('a blob that comes', () => {
  test('is read back in its role alone, with its row', async () => {
    await adopt('cached', 'nju')

    const blob = await store.open(digest, 'cached')

    expect(await digestIn(blob)).toBe(digest)
    expect(blob!.row).toMatchObject({ digest, size: 5000, cached: true, pushed: false, source: 'nju' })
    expect(await store.open(digest, 'pushed')).toBeUndefined()
    await blob!.close()
  })

  test('in both roles is one file, which goes with the second role', async () => {
    await adopt('cached')
    await adopt('pushed')

    await store.remove(digest, 'cached')
    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
    expect(store.find(digest, 'cached')).toBeUndefined()
    await store.remove(digest, 'pushed')

    expect(await storage.driver.stat(blobKey(digest))).toBeUndefined()
    expect(storage.index.find(digest)).toBeUndefined()
  })

  test('whose file cannot be written leaves no row', async () => {
    const failing = new BlobStore({
      driver: withStep(() => Promise.reject(new Error('no room'))),
      index: storage.index,
    })

    await expect(failing.put(content, { digest, manifest: true }, 'pushed')).rejects.toThrow('no room')

    expect(storage.index.find(digest)).toBeUndefined()
    expect(storage.index.pushedBytes()).toBe(0)
  })

  test('again and cannot be written keeps the row that it had', async () => {
    await adopt('cached')
    const failing = new BlobStore({
      driver: withStep(() => Promise.reject(new Error('no room'))),
      index: storage.index,
    })

    await expect(failing.put(content, { digest, manifest: false }, 'cached')).rejects.toThrow('no room')

    expect(store.find(digest, 'cached')).toBeDefined()
    const blob = await store.open(digest, 'cached')
    expect(await digestIn(blob)).toBe(digest)
    await blob!.close()
  })

  test('is found by who asks while it is on its way, and not taken for lost', async () => {
    let arrive!: () => void
    const arriving = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const slow = new BlobStore({ driver: withStep(() => arriving), index: storage.index })
    const adopting = slow.adopt(await staged(), { digest, size: content.length, manifest: false }, 'cached')

    const opening = slow.open(digest, 'cached')
    arrive()
    await adopting
    const blob = await opening

    expect(await digestIn(blob)).toBe(digest)
    await blob!.close()
    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
  })
})

describe('a file that is not what its row says', () => {
  test.each([
    ['gone', () => rm(pathOf(digest))],
    ['cut short', () => truncate(pathOf(digest), 100)],
  ])('because it is %s reads as absent, and a fetched one is forgotten', async (_case, damage) => {
    await adopt('cached')
    await damage()

    expect(await store.open(digest, 'cached')).toBeUndefined()

    expect(storage.index.find(digest)).toBeUndefined()
    expect(storage.index.cacheTotals()).toEqual({ blobs: 0, manifests: 0, sizeBytes: 0 })
    expect(await storage.driver.stat(blobKey(digest))).toBeUndefined()
  })

  test('is left on disk when it was pushed: nobody can send it again', async () => {
    await adopt('pushed')
    await truncate(pathOf(digest), 100)

    expect(await store.open(digest, 'pushed')).toBeUndefined()

    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
  })
})

describe('eviction', () => {
  test('leaves a blob alone while one of its readers is open, however often another closes', async () => {
    await adopt('cached')
    const [first, second] = [await store.open(digest, 'cached'), await store.open(digest, 'cached')]

    await first!.close()
    await first!.close()
    const whileOpen = await store.evict(digest)
    await second!.close()
    const afterwards = await store.evict(digest)

    expect([whileOpen, afterwards]).toEqual([false, true])
    expect(await storage.driver.stat(blobKey(digest))).toBeUndefined()
  })

  test('takes nothing that was pushed as well', async () => {
    await adopt('cached')
    await adopt('pushed')

    expect(await store.evict(digest)).toBe(true)

    const blob = await store.open(digest, 'pushed')
    expect(await digestIn(blob)).toBe(digest)
    await blob!.close()
  })

  test('a reader open when a blob is removed reads to the end', async () => {
    await adopt('cached')
    const blob = await store.open(digest, 'cached')

    await store.remove(digest, 'cached')

    expect(await digestIn(blob)).toBe(digest)
    await blob!.close()
  })
})

describe('keep', () => {
  test('makes a fetched blob a pushed one without another file', async () => {
    await adopt('cached')

    expect(await store.keep(digest)).toBe(true)
    await store.evict(digest)

    const blob = await store.open(digest, 'pushed')
    expect(await digestIn(blob)).toBe(digest)
    await blob!.close()
  })

  test('refuses what is not here, or no longer whole', async () => {
    expect(await store.keep(digest)).toBe(false)
    await adopt('cached')
    await truncate(pathOf(digest), 100)

    expect(await store.keep(digest)).toBe(false)
  })
})

describe('collecting what was pushed', () => {
  const HOUR = 3_600_000
  const ahead = () => Date.now() + HOUR

  test('takes the file and the row, and tells the bytes; a dry run takes neither', async () => {
    await adopt('pushed')

    expect(await store.collect(digest, ahead(), true)).toBe(5000)
    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
    expect(await store.collect(digest, ahead(), false)).toBe(5000)

    expect(await storage.driver.stat(blobKey(digest))).toBeUndefined()
    expect(storage.index.find(digest)).toBeUndefined()
  })

  test('leaves what was used since, be it a moment ago', async () => {
    await adopt('pushed')
    const since = Date.now() + 10
    await expect.poll(() => Date.now()).toBeGreaterThan(since)

    storage.index.touch(digest)

    expect(await store.collect(digest, since, false)).toBeUndefined()
    expect(await store.unlessUsed(digest, since, async () => 'gone')).toBeUndefined()
    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
  })

  test('leaves what the cache has as the cache has it, and frees nothing', async () => {
    await adopt('cached', 'nju')
    await adopt('pushed')

    expect(await store.collect(digest, ahead(), false)).toBe(0)

    expect(storage.index.find(digest)).toMatchObject({ cached: true, pushed: false, source: 'nju' })
    expect(await store.collect(digest, ahead(), false)).toBeUndefined()
    expect(await storage.driver.stat(blobKey(digest))).toBeDefined()
  })

  test('waits for whoever is about to tell a client that it is here, and leaves it then', async () => {
    await adopt('pushed')
    const since = Date.now() + 10
    await expect.poll(() => Date.now()).toBeGreaterThan(since)
    let tell = () => {}
    const told = store.using(digest, () => new Promise<void>((resolve) => (tell = resolve)))

    const collected = store.collect(digest, since, false)
    tell()

    await told
    expect(await collected).toBeUndefined()
  })

  test.each<[string, () => Promise<unknown>]>([
    ['used', () => store.using(digest, async () => {})],
    ['kept', () => store.keep(digest)],
    ['pushed again', () => adopt('pushed')],
  ])('leaves what was %s while uses are noted, whatever the clock says, and no longer', async (_case, use) => {
    await adopt('pushed')
    const noted = store.noteUses()
    await use()

    expect(await store.collect(digest, ahead(), false)).toBeUndefined()
    noted()

    expect(await store.collect(digest, ahead(), false)).toBe(5000)
  })

  test('lets links that were deleted settle before its file goes, and eviction waits for nothing', async () => {
    const steps: string[] = []
    const { driver, index } = storage
    const noting = Object.assign(
      withStep(async () => {}),
      {
        settle: () => driver.settle().then(() => steps.push('settled')),
        discard: (key: string) => driver.discard(key).then(() => steps.push('discarded')),
      },
    )
    const noted = new BlobStore({ driver: noting, index })
    await adopt('pushed')
    await noted.collect(digest, ahead(), false)
    expect(steps.splice(0)).toEqual(['settled', 'discarded'])
    await adopt('cached')

    await noted.evict(digest)

    expect(steps).toEqual(['discarded'])
  })

  test('a row whose file is gone goes; one whose file is there stays', async () => {
    await adopt('pushed')

    expect(await store.dropLost(digest)).toBe(false)
    await rm(pathOf(digest))
    expect(await store.dropLost(digest)).toBe(true)

    expect(storage.index.find(digest)).toBeUndefined()
  })
})
