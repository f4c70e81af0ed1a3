import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BlobCache } from '../../src/cache/blob-cache.js'
import { Eviction } from '../../src/cache/eviction.js'
import { HotContent } from '../../src/cache/hot-content.js'
import { PartFolder } from '../../src/cache/part-folder.js'
import { EventBus } from '../../src/events.js'
import { Complaint } from '../../src/lib/complaint.js'
import type { OpenBlob } from '../../src/oci/content.js'
import { digestOf } from '../../src/oci/digest.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'
import { ScriptedSource } from './scripted-source.js'

const BIG = 1_500_000
const PLACE = 'docker.io/library/app'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let cache: BlobCache
let events: EventBus
beforeEach(async () => {
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  events = new EventBus({ onListenerError: (error) => expect.unreachable(String(error)) })
  await mkdir(join(folder.path, 'fills'))
  const parts = await PartFolder.open(join(folder.path, 'fills'))
  const hot = new HotContent({ memoryBytes: 0 })
  const segments = () => ({ size: BIG, minBlob: 100 * BIG })
  const common = { ...storage, parts, hot, events, segments, log: pino({ level: 'silent' }), maxSizeBytes: 100 * BIG }
  const eviction = new Eviction({ ...common, lowWatermark: 1, trusted: Promise.resolve() })
  cache = new BlobCache({ ...common, trouble: new Complaint(), eviction })
})
afterEach(async () => {
  await cache.stop()
  storage.index.close()
  await folder.remove()
})

async function digestIn({ reader, size = 0 }: OpenBlob) {
  const bytes = Buffer.alloc(size)
  try {
    for (let at = 0; at < size; ) at += await reader.read(bytes.subarray(at), at)
    return digestOf(bytes)
  } finally {
    await reader.close()
  }
}

test.each([0, 1, 2, 4, 8])(
  'a finished download can be opened and read %i turns after it was put away',
  async (turns) => {
    const content = randomBytes(BIG)
    const digest = digestOf(content)
    const source = new ScriptedSource({ content })
    const late = new Promise<OpenBlob>((resolve) => {
      events.on('blob.filled', async () => {
        for (let turn = 0; turn < turns; turn++) await undefined
        resolve(cache.open(digest, PLACE, () => source))
      })
    })

    const { reader } = await cache.open(digest, PLACE, () => source)
    await reader.close()

    expect(await digestIn(await late)).toBe(digest)
    expect(source.asked).toEqual([0])
  },
)

describe('the source of a download is closed once', () => {
  const content = randomBytes(BIG)
  const digest = digestOf(content)

  test('when it has been put away', async () => {
    const source = new ScriptedSource({ content })

    const { reader } = await cache.open(digest, PLACE, () => source)
    expect(source.closed).toBe(0)
    await reader.close()

    await expect.poll(() => source.closed).toBe(1)
    expect(cache.holds(digest)).toBe(true)
  })

  test('when it has failed', async () => {
    const source = new ScriptedSource()

    await expect(cache.open(digest, PLACE, () => source)).rejects.toThrow('no upstream is left')

    await expect.poll(() => source.closed).toBe(1)
  })
})

describe('a blob that is fetched ahead', () => {
  const content = randomBytes(BIG)
  const digest = digestOf(content)
  let open: () => void
  let gate: Promise<void>
  let settled: () => number
  beforeEach(() => {
    gate = new Promise((resolve) => {
      open = resolve
    })
    let count = 0
    events.on('blob.settled', () => void count++)
    settled = () => count
  })

  const gated = () => new ScriptedSource({ content, gate: () => gate })
  const never = () => expect.unreachable('it is here or on its way')

  test('is put away when that has ended, and then no source is asked again', async () => {
    const ahead = cache.fetchAhead(digest, PLACE, gated)
    const during = cache.holds(digest)
    open()
    await ahead

    await cache.fetchAhead(digest, PLACE, never)

    expect(during).toBe(true)
    expect(await digestIn(await cache.open(digest, PLACE, never))).toBe(digest)
  })

  test('is no download of a client before one asks for it, and then it is, until it has ended', async () => {
    const ahead = cache.fetchAhead(digest, PLACE, gated)
    const before = cache.clientFills
    const joining = cache.open(digest, PLACE, never)
    await expect.poll(() => cache.clientFills).toBe(1)
    const seen: number[] = []
    events.on('blob.settled', () => void seen.push(cache.clientFills))
    open()
    await ahead
    const joined = await joining

    expect(before).toBe(0)
    expect(joined.outcome).toMatch(/^(join|hit)$/)
    expect(await digestIn(joined)).toBe(digest)
    expect(seen).toEqual([0])
  })

  test('is not asked for when a client has asked for it already', async () => {
    const opening = cache.open(digest, PLACE, gated)
    await expect.poll(() => cache.clientFills).toBe(1)

    const ahead = cache.fetchAhead(digest, PLACE, never)
    open()
    await ahead

    expect(await digestIn(await opening)).toBe(digest)
    await expect.poll(settled).toBe(1)
  })

  test('and cannot be had is told as ended all the same, and can be asked for', async () => {
    await cache.fetchAhead(digest, PLACE, () => new ScriptedSource())

    expect(settled()).toBe(1)
    expect(cache.holds(digest)).toBe(false)
    expect(await digestIn(await cache.open(digest, PLACE, () => new ScriptedSource({ content })))).toBe(digest)
  })

  test('is not begun after the stop', async () => {
    await cache.stop()

    await cache.fetchAhead(digest, PLACE, never)

    expect(cache.holds(digest)).toBe(false)
  })
})
