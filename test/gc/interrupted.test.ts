import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BlobStore } from '../../src/metadata/blob-store.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { StorageDriver } from '../../src/storage/driver.js'
import { ALONE, makeCollector } from '../helpers/collector.js'
import { openStorage, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { pushContents, pusher } from '../helpers/push.js'
import { filesBelow } from '../helpers/stored-files.js'

const DAY = 86_400_000
/** Two tags stay, of four; the others go with an index, its children and a signature. */
const RETENTION = [{ repositories: 'local/**', keepLast: 2, keepTags: [] }]
const KILLED = new Error('killed')

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let ahead: number

beforeEach(async () => {
  ahead = 0
  folder = await temporaryFolder()
  const server = await startLocalServer(join(folder.path, 'whole'), { now: () => Date.now() + ahead })
  const push = pusher(server.url)
  const put = async (reference: string, content: Buffer, type?: string) => {
    expect((await push.manifest('local/app', reference, content, type)).status).toBe(201)
    ahead += 1000
    return { mediaType: type ?? MEDIA_TYPES.ociManifest, digest: digestOf(content), size: content.length }
  }
  const untagged = async (layer: string, extra: object = {}) => {
    const content = await pushContents(push, 'local/app', ['shared', layer], extra)
    return put(digestOf(content), content)
  }
  const children = [await untagged('amd64'), await untagged('arm64')]
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: children }
  const subject = await put('v1', Buffer.from(JSON.stringify(index)), MEDIA_TYPES.ociIndex)
  await untagged('signature', { subject })
  for (const tag of ['v2', 'v3', 'v4']) await put(tag, await pushContents(push, 'local/app', ['shared', tag]))
  await server.kill()
})
afterEach(() => folder.remove())

/** Without SQLite's own files beside index.db: they are empty after a close, and vanish some time after it. */
function copy(from: string, to: string): Promise<void> {
  return cp(from, to, { recursive: true, filter: (path) => !/-(wal|shm)$/.test(path) })
}

/** Stops after so many changes of files, as a kill would. */
function killedAfter(driver: StorageDriver, changes: number) {
  let left = changes
  const change = <Args extends unknown[]>(work: (...args: Args) => Promise<void>) => {
    return async (...args: Args) => {
      if (left-- <= 0) throw KILLED
      await work(...args)
    }
  }
  return Object.assign(Object.create(driver) as StorageDriver, {
    stat: driver.stat.bind(driver),
    statAll: driver.statAll.bind(driver),
    get: driver.get.bind(driver),
    list: driver.list.bind(driver),
    names: driver.names.bind(driver),
    put: change(driver.put.bind(driver)),
    delete: change(driver.delete.bind(driver)),
    discard: change(driver.discard.bind(driver)),
    settle: driver.settle.bind(driver),
    tidy: driver.tidy.bind(driver),
  })
}

async function collect(at: string, days: number, changes = Number.POSITIVE_INFINITY) {
  const now = () => Date.now() + days * DAY
  const storage = await openStorage(at, now)
  const driver = killedAfter(storage.driver, changes)
  const { index } = storage
  const store = new BlobStore({ driver, index })
  const policy = () => ({ graceMs: DAY / 2, retention: RETENTION })
  const collector = makeCollector({ driver, store, index, changes: ALONE, policy, now })
  const report = await collector.collect({ dryRun: false })
  storage.index.close()
  return report
}

/** Each tag with whether all that it names is there. */
async function tags(at: string): Promise<Record<string, boolean>> {
  const server = await startLocalServer(at)
  const push = pusher(server.url)
  const whole = async (reference: string): Promise<boolean> => {
    const response = await push.send('GET', `/v2/local/app/manifests/${reference}`)
    if (response.status !== 200) return false
    const { manifests = [], layers = [] } = (await response.json()) as Record<string, { digest: Digest }[]>
    for (const { digest } of manifests) if (!(await whole(digest))) return false
    for (const { digest } of layers) {
      if ((await push.send('HEAD', `/v2/local/app/blobs/${digest}`)).status !== 200) return false
    }
    return true
  }
  const { tags } = (await (await push.send('GET', '/v2/local/app/tags/list')).json()) as { tags: string[] }
  const states: [string, boolean][] = []
  for (const tag of tags) states.push([tag, await whole(tag)])
  await server.kill()
  return Object.fromEntries(states)
}

test('killed after any of its changes a run leaves every tag whole, and the next one takes the rest', {
  timeout: 90_000,
}, async () => {
  const whole = join(folder.path, 'whole')
  const done = join(folder.path, 'done')
  await copy(whole, done)
  expect(await collect(done, 1)).toMatchObject({ found: { tag: 2, manifest: 5 } })
  const left = (await filesBelow(done)).filter((file) => !/^(index|lock)\.db/.test(file))

  for (let changes = 0; ; changes++) {
    const at = join(folder.path, `after-${changes}`)
    await copy(whole, at)
    const { failure } = await collect(at, 1, changes)
    const states = await tags(at)
    await collect(at, 2)

    expect({ changes, whole: Object.values(states).every(Boolean), v4: states.v4 }).toEqual({
      changes,
      whole: true,
      v4: true,
    })
    const files = (await filesBelow(at)).filter((file) => !/^(index|lock)\.db/.test(file))
    expect({ changes, files }).toEqual({ changes, files: left })
    if (failure === undefined) return expect(changes).toBeGreaterThan(15)
  }
})
