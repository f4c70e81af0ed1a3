import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BlobCache } from '../../src/cache/blob-cache.js'
import { Eviction } from '../../src/cache/eviction.js'
import { HotContent } from '../../src/cache/hot-content.js'
import { PartFolder } from '../../src/cache/part-folder.js'
import { EventBus } from '../../src/events.js'
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
  const common = { ...storage, parts, hot, events, log: pino({ level: 'silent' }), maxSizeBytes: 100 * BIG }
  cache = new BlobCache({ ...common, eviction: new Eviction({ ...common, lowWatermark: 1 }) })
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
