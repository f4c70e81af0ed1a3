import { randomBytes } from 'node:crypto'
import { stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventBus } from '../../src/events.js'
import { digestOf } from '../../src/oci/digest.js'
import { parseRepository } from '../../src/oci/reference.js'
import { DiskGuard } from '../../src/registry/disk-guard.js'
import { RepositoryLinks } from '../../src/registry/repository-links.js'
import { Uploads } from '../../src/registry/uploads.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

const DAY_MS = 24 * 3_600_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let clock: number
let uploads: Uploads

const app = parseRepository('local/app')
const chunk = (body: Readable) => ({ body, range: undefined, length: undefined })
const make = ({ limit = 3, perClient = 0 } = {}) =>
  new Uploads({
    dir: storage.uploadsDir,
    store: storage.store,
    events: new EventBus({
      onListenerError: (error) => {
        throw error
      },
    }),
    link: (repository, digest) => new RepositoryLinks({ repository, driver: storage.driver }).addBlob(digest),
    guard: new DiskGuard({ folder: folder.path, minFreeBytes: 0, makeRoom: async () => false, now: () => clock }),
    now: () => clock,
    expireMs: DAY_MS,
    perClient,
    limit,
  })

beforeEach(async () => {
  clock = Date.now()
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  uploads = make()
  await uploads.start()
})

afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

test('so many uploads may be open and no more, until one ends', async () => {
  const [first] = [
    await uploads.begin(app, { client: 'one' }),
    await uploads.begin(app, { client: 'one' }),
    await uploads.begin(app, { client: 'one' }),
  ]

  await expect(uploads.begin(app, { client: 'one' })).rejects.toMatchObject({
    code: 'TOOMANYREQUESTS',
    status: 429,
    headers: { 'retry-after': '60' },
  })
  await uploads.cancel(app, first.session)

  await expect(uploads.begin(app, { client: 'one' })).resolves.toMatchObject({ size: 0 })
})

test('an upload found after a restart is as old as its last byte', async () => {
  const [young, old] = [await uploads.begin(app, { client: 'one' }), await uploads.begin(app, { client: 'one' })]
  const before = new Date(clock - 2 * DAY_MS)
  await utimes(join(storage.uploadsDir, `${old.session}.part`), before, before)
  uploads = make()
  await uploads.start()

  await uploads.sweep()

  await expect(uploads.status(app, old.session)).rejects.toMatchObject({ code: 'BLOB_UPLOAD_UNKNOWN' })
  await expect(uploads.status(app, young.session)).resolves.toMatchObject({ size: 0 })
})

test('F133: an upload is not given up while it is being received, however long that takes', async () => {
  const { session } = await uploads.begin(app, { client: 'one' })
  const body = new PassThrough()
  const receiving = uploads.append(app, session, chunk(body))
  body.write('slow')
  await expect.poll(async () => (await stat(join(storage.uploadsDir, `${session}.part`))).size).toBe(4)
  clock += 3 * DAY_MS

  await uploads.sweep()
  body.end(' bytes')

  await expect(receiving).resolves.toEqual({ session, size: 10 })
})

test('more than one batch of synced data has the right digest', async () => {
  const { session } = await uploads.begin(app, { client: 'one' })
  const piece = randomBytes(1024 * 1024)
  const whole = Buffer.concat(Array.from({ length: 70 }, () => piece))

  await uploads.append(app, session, chunk(Readable.from(Array.from({ length: 70 }, () => piece))))
  await uploads.finish(app, session, digestOf(whole), chunk(Readable.from([])))

  expect((await storage.store.open(digestOf(whole), 'pushed'))?.size).toBe(whole.length)
})
