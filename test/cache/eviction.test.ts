import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Eviction } from '../../src/cache/eviction.js'
import { HotContent } from '../../src/cache/hot-content.js'
import { PartFolder } from '../../src/cache/part-folder.js'
import { EventBus } from '../../src/events.js'
import { digestOf } from '../../src/oci/digest.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

const BLOB = 40_960
const LIMIT = 2 * BLOB

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let eviction: Eviction
let lines: object[]
let events: EventBus
let trust: () => void
beforeEach(async () => {
  lines = []
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  await mkdir(join(folder.path, 'fills'))
  events = new EventBus({ onListenerError: (error) => expect.unreachable(String(error)) })
  eviction = new Eviction({
    ...storage,
    parts: await PartFolder.open(join(folder.path, 'fills')),
    hot: new HotContent({ memoryBytes: 0 }),
    events,
    log: pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    maxSizeBytes: LIMIT,
    lowWatermark: 1,
    trusted: new Promise((resolve) => (trust = resolve)),
  })
})
afterEach(async () => {
  trust()
  await eviction.stop()
  storage.index.close()
  await folder.remove()
})

test('nothing goes before the index may be trusted, be there a reader that closes or a full disk', async () => {
  const blobs = Array.from({ length: 4 }, () => randomBytes(BLOB))
  const evicted: string[] = []
  events.on('blob.evicted', ({ digest }) => evicted.push(digest))
  for (const bytes of blobs) await storage.store.put(bytes, { digest: digestOf(bytes), manifest: false }, 'cached')
  eviction.kick()
  eviction.relieve(BLOB)
  const reader = await storage.store.open(digestOf(blobs[0]!), 'cached')
  await reader?.close()
  // Long enough for it to have come to its end.
  for (let n = 0; n < 20; n++) await storage.driver.put('some/key', '')
  expect(evicted).toEqual([])

  trust()

  await expect.poll(() => eviction.sizeBytes).toBe(LIMIT)
})

test('what could not go because it was being read goes when it is read no more, with nothing else asked', async () => {
  const blobs = Array.from({ length: 4 }, () => randomBytes(BLOB))
  const readers = []
  for (const bytes of blobs) {
    await storage.store.put(bytes, { digest: digestOf(bytes), manifest: false }, 'cached')
    readers.push(await storage.store.open(digestOf(bytes), 'cached'))
  }
  trust()
  eviction.kick()
  await expect.poll(() => lines).toMatchObject([{ msg: 'cache evicted', evicted: 0, inUse: 4 }])

  for (const reader of readers) await reader?.close()

  await expect.poll(() => eviction.sizeBytes).toBe(LIMIT)
})

test('a run that does not end, since as much comes as goes, looks again at what was being read', async () => {
  const add = () => {
    const digest = digestOf(randomBytes(8))
    storage.index.addCached({ digest, size: BLOB, manifest: false })
    return digest
  }
  const oldest = randomBytes(BLOB)
  await storage.store.put(oldest, { digest: digestOf(oldest), manifest: false }, 'cached')
  const reader = await storage.store.open(digestOf(oldest), 'cached')
  for (let at = 0; at < 4; at++) add()
  const evicted: string[] = []
  events.on('blob.evicted', ({ digest }) => {
    void reader?.close()
    if (evicted.push(digest) < 40) add()
  })
  trust()

  eviction.kick()

  await expect.poll(() => eviction.sizeBytes).toBe(LIMIT)
  expect(evicted.slice(0, 10)).toContain(digestOf(oldest))
})

test('a full disk gets room though the limit is not reached', async () => {
  const blobs = [randomBytes(BLOB), randomBytes(BLOB)]
  for (const bytes of blobs) await storage.store.put(bytes, { digest: digestOf(bytes), manifest: false }, 'cached')
  trust()
  eviction.kick()
  expect(eviction.sizeBytes).toBe(LIMIT)

  eviction.relieve(1)

  await expect.poll(() => eviction.sizeBytes).toBe(BLOB)
})

test('room is made at once for as much as there is, and nothing goes for more than that', async () => {
  const blobs = [randomBytes(BLOB), randomBytes(BLOB)]
  for (const bytes of blobs) await storage.store.put(bytes, { digest: digestOf(bytes), manifest: false }, 'cached')
  trust()

  expect(await eviction.makeRoom(3 * BLOB)).toBe(false)
  expect(eviction.sizeBytes).toBe(2 * BLOB)
  expect(await eviction.makeRoom(1)).toBe(true)
  expect(eviction.sizeBytes).toBe(BLOB)
  const reader = await storage.store.open(digestOf(blobs[1]!), 'cached')
  expect(await eviction.makeRoom(1)).toBe(false)
  await reader?.close()
})

test('room was made also where as much came beside it as went', async () => {
  const bytes = randomBytes(BLOB)
  await storage.store.put(bytes, { digest: digestOf(bytes), manifest: false }, 'cached')
  let more = 1
  events.on('blob.evicted', () => {
    // The run ends with this one: it is being read.
    if (more-- > 0) storage.index.addCached({ digest: held, size: 2 * BLOB, manifest: false })
  })
  const kept = randomBytes(2 * BLOB)
  const held = digestOf(kept)
  await storage.store.put(kept, { digest: held, manifest: false }, 'cached')
  const reader = await storage.store.open(held, 'cached')
  storage.index.drop(held, 'cached')
  trust()

  expect(await eviction.makeRoom(1)).toBe(true)

  expect(eviction.sizeBytes).toBe(2 * BLOB)
  await reader?.close()
})
