import { randomBytes } from 'node:crypto'
import { type FileHandle, open, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
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
const make = ({ limit = 3, perClient = 0, gained = false } = {}) =>
  new Uploads({
    dir: storage.uploadsDir,
    store: storage.store,
    events: new EventBus({
      onListenerError: (error) => {
        throw error
      },
    }),
    link: (repository, digest) => new RepositoryLinks({ repository, driver: storage.driver }).addBlob(digest),
    guard: new DiskGuard({
      folder: folder.path,
      minFreeBytes: 0,
      room: { sizeBytes: 0, makeRoom: async () => gained },
      now: () => clock,
    }),
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

  expect(storage.store.find(digestOf(whole), 'pushed')?.size).toBe(whole.length)
})

describe('on its way to the disk', () => {
  const MIB = 1024 * 1024
  let handles: FileHandle

  beforeEach(async () => {
    const handle = await open(folder.path)
    handles = Object.getPrototypeOf(handle) as FileHandle
    await handle.close()
  })
  afterEach(() => vi.restoreAllMocks())

  const piecesOf = (content: Buffer, bytes: number) =>
    Array.from({ length: content.length / bytes }, (_, n) => content.subarray(n * bytes, (n + 1) * bytes))

  test('what arrives while a write is under way is written together, and the client is held back behind 512 KiB', async () => {
    const { writev } = handles
    let goOn = () => {}
    const held = new Promise<void>((resolve) => (goOn = resolve))
    const writes: number[] = []
    vi.spyOn(handles, 'writev').mockImplementation(async function (this: FileHandle, buffers, position) {
      writes.push(buffers.reduce((sum, { byteLength }) => sum + byteLength, 0))
      if (writes.length === 1) await held
      return writev.call(this, buffers, position)
    })
    const content = randomBytes(2 * MIB)
    let given = 0
    const body = Readable.from(
      (function* () {
        for (const piece of piecesOf(content, 64 * 1024)) {
          given += piece.length
          yield piece
        }
      })(),
      { highWaterMark: 1 },
    )
    const { session } = await uploads.begin(app, { client: 'one' })

    const receiving = uploads.append(app, session, chunk(body))
    await expect.poll(() => given).toBeGreaterThan(MIB / 2)
    for (let n = 0; n < 20; n++) await new Promise(setImmediate)
    const givenWhileHeld = given
    goOn()
    await receiving
    await uploads.finish(app, session, digestOf(content), chunk(Readable.from([])))

    expect(givenWhileHeld).toBeLessThanOrEqual(MIB / 2 + 3 * 64 * 1024)
    expect(writes.slice(0, 2)).toEqual([64 * 1024, MIB / 2])
    expect(storage.store.find(digestOf(content), 'pushed')?.size).toBe(content.length)
  })

  test('a write that takes only a part is continued where it ended', async () => {
    const { writev } = handles
    vi.spyOn(handles, 'writev').mockImplementation(function (this: FileHandle, [first], position) {
      return writev.call(this, [Buffer.from((first as Buffer).subarray(0, 1000))], position)
    })
    const content = randomBytes(128 * 1024)
    const { session } = await uploads.begin(app, { client: 'one' })

    await uploads.append(app, session, chunk(Readable.from(piecesOf(content, 32 * 1024))))
    uploads = make()
    await uploads.start()

    // Of the file, since this process has not seen its bytes.
    await uploads.finish(app, session, digestOf(content), chunk(Readable.from([])))
  })

  test('what comes in many small requests is synced on the way, so that the last one has little to wait for', async () => {
    const synced = vi.spyOn(handles, 'datasync')
    const { session } = await uploads.begin(app, { client: 'one' })
    const piece = randomBytes(8 * MIB)

    for (let n = 0; n < 9; n++) await uploads.append(app, session, chunk(Readable.from([piece])))

    await expect.poll(() => synced.mock.calls.length).toBe(2)
  })

  test.each([
    { gained: true, code: 'ENOSPC' },
    { gained: false, code: 'ENOSPC' },
    { gained: true, code: 'EDQUOT' },
  ])(
    'a sync that fails with $code, which the system tells once, is not repeated; room made: $gained',
    async ({ gained, code }) => {
      uploads = make({ gained })
      const content = randomBytes(1000)
      const { session } = await uploads.begin(app, { client: 'one' })
      await uploads.append(app, session, chunk(Readable.from([content])))
      const full = Object.assign(new Error('no room'), { code })
      for (const name of ['sync', 'datasync'] as const) vi.spyOn(handles, name).mockRejectedValueOnce(full)

      const finish = () => uploads.finish(app, session, digestOf(content), chunk(Readable.from([])))

      await expect(finish()).rejects.toMatchObject({ code: 'UNAVAILABLE', status: 507 })
      await expect(finish()).rejects.toMatchObject({ code: 'BLOB_UPLOAD_UNKNOWN' })
      expect(storage.store.find(digestOf(content), 'pushed')).toBeUndefined()
    },
  )

  test('an upload of which data was lost on its way is given up, and its blob is not there', async () => {
    vi.spyOn(handles, 'datasync').mockRejectedValue(Object.assign(new Error('input/output error'), { code: 'EIO' }))
    const { session } = await uploads.begin(app, { client: 'one' })
    const content = randomBytes(40 * MIB)
    await uploads.append(app, session, chunk(Readable.from([content])))

    const finished = uploads.finish(app, session, digestOf(content), chunk(Readable.from([])))

    await expect(finished).rejects.toMatchObject({ code: 'EIO' })
    await expect(uploads.status(app, session)).rejects.toMatchObject({ code: 'BLOB_UPLOAD_UNKNOWN' })
    expect(storage.store.find(digestOf(content), 'pushed')).toBeUndefined()
  })
})
