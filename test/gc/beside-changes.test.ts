import { setTimeout as rest } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RetentionRule } from '../../src/gc/retention.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { StorageDriver } from '../../src/storage/driver.js'
import { manifestLinkKey } from '../../src/storage/layout.js'
import { makeCollector } from '../helpers/collector.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { type Pusher, pushContents, pusher } from '../helpers/push.js'

const HOUR = 3_600_000
const APP = 'local/app'
const IO_ERROR = Object.assign(new Error('i/o error'), { code: 'EIO' })

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher
let ahead: number
const now = () => Date.now() + ahead

beforeEach(async () => {
  ahead = 0
  folder = await temporaryFolder()
  server = await startLocalServer(folder.path, { now })
  push = pusher(server.url)
})
afterEach(async () => {
  await server.kill()
  await folder.remove()
})

function collect(driver: StorageDriver, retention: RetentionRule[] = []) {
  const { index, store, registry } = server
  const policy = () => ({ graceMs: HOUR, retention })
  return makeCollector({ driver, index, store, changes: registry.changes, policy, now }).collect({ dryRun: false })
}

/** Lists a folder as tmpfs and btrfs may: what is replaced meanwhile, by `change`, is not in the list. */
function forgetful(driver: StorageDriver, change: () => Promise<unknown>): StorageDriver {
  const { put, names } = driver
  const replaced = new Set<string>()
  let changing: Promise<unknown> | undefined
  driver.put = (key, bytes) => {
    replaced.add(key)
    return put.call(driver, key, bytes)
  }
  driver.names = async function* (prefix) {
    if (prefix.includes('_manifests/') && !changing) {
      changing = change()
      // It may have to wait for the list.
      await Promise.race([changing, rest(200)])
      for await (const name of names.call(driver, prefix)) if (!replaced.has(`${prefix}/${name}`)) yield name
      return
    }
    yield* names.call(driver, prefix)
  }
  return driver
}

test('what is in two indexes stays when one of them is deleted while a run lists the links', async () => {
  const children: Digest[] = []
  for (const layer of ['amd64', 'arm64']) {
    const content = await pushContents(push, APP, [layer])
    children.push(digestOf(content))
    await push.manifest(APP, digestOf(content), content)
  }
  const manifests = children.map((digest) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size: 1 }))
  const indexes = ['nightly', 'v1'].map((name) =>
    JSON.stringify({ schemaVersion: 2, manifests, annotations: { name } }),
  )
  for (const [at, tag] of ['nightly', 'v1'].entries()) {
    expect((await push.manifest(APP, tag, indexes[at]!, MEDIA_TYPES.ociIndex)).status).toBe(201)
  }
  ahead = 2 * HOUR
  const remove = () => push.send('DELETE', `/v2/${APP}/manifests/${digestOf(Buffer.from(indexes[0]!))}`)
  const removed: Promise<Response>[] = []

  await collect(
    forgetful(server.driver, () => {
      removed.push(remove())
      return removed[0]!
    }),
  )

  expect((await removed[0]!).status).toBe(202)
  for (const [at, layer] of ['amd64', 'arm64'].entries()) {
    expect(await server.driver.stat(manifestLinkKey(APP, children[at]!))).toBeDefined()
    expect((await push.send('HEAD', `/v2/${APP}/blobs/${digestOf(Buffer.from(layer))}`)).status).toBe(200)
  }
})

test('a full disk keeps what would have to be marked, and no garbage beside it', async () => {
  const child = await pushContents(push, APP, ['amd64'])
  const manifests = [{ mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(child), size: child.length }]
  const index = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests })
  await push.manifest(APP, digestOf(child), child)
  await push.manifest(APP, 'old', index, MEDIA_TYPES.ociIndex)
  await push.blob('local/other', Buffer.from('garbage'))
  await push.blob(APP, Buffer.from('garbage here'))
  ahead = 2 * HOUR
  const { driver } = server
  const { put } = driver
  driver.put = () => Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }))
  const rules = [{ repositories: 'local/**', keepLast: 0, keepTags: [] }]

  const full = await collect(driver, rules)
  const pulled = await push.send('GET', `/v2/${APP}/manifests/old`)
  driver.put = put
  ahead += 2 * HOUR
  const roomy = await collect(driver, rules)

  expect([full.failure, full.found, pulled.status]).toEqual([
    undefined,
    { tag: 0, manifest: 0, blob: 2, referrer: 0, content: 2, row: 0 },
    200,
  ])
  expect(roomy.found).toMatchObject({ tag: 1, manifest: 2 })
})

test('where a link of one repository cannot be read, all that it links to is kept and the others are collected', async () => {
  const content = await pushContents(push, APP, ['a layer'])
  await push.manifest(APP, 'v1', content)
  const stray = await push.blob(APP, Buffer.from('stray'))
  const other = await push.blob('local/other', Buffer.from('stray of another'))
  ahead = 2 * HOUR
  const { driver } = server
  const { get } = driver
  driver.get = (key) => {
    if (key !== manifestLinkKey(APP, digestOf(content))) return get.call(driver, key)
    return Promise.reject(IO_ERROR)
  }

  const report = await collect(driver)

  driver.get = get
  expect([report.failure, report.failed, report.found.content]).toEqual([undefined, 1, 1])
  for (const digest of [stray, digestOf(Buffer.from('a layer'))]) {
    expect((await push.send('GET', `/v2/${APP}/blobs/${digest}`)).status).toBe(200)
  }
  expect((await push.send('GET', `/v2/${APP}/manifests/v1`)).status).toBe(200)
  expect((await push.send('HEAD', `/v2/local/other/blobs/${other}`)).status).toBe(404)
})

test('where the links of a repository cannot even be listed no blob goes', async () => {
  await push.blob(APP, Buffer.from('perhaps needed'))
  await push.blob('local/z', Buffer.from('stray'))
  ahead = 2 * HOUR
  const { driver } = server
  const { names } = driver
  driver.names = (prefix) => {
    if (prefix.startsWith('repositories/local/app/_blobs')) throw IO_ERROR
    return names.call(driver, prefix)
  }

  const report = await collect(driver)

  expect(report).toMatchObject({ failure: 'i/o error', failed: 1, found: { content: 0 } })
})

test('where a folder of repositories cannot be listed the others are gone through, and no blob goes', async () => {
  const below = await push.blob('local/team/app', Buffer.from('linked where nobody can look'))
  for (const repository of ['local/a', 'local/z']) await push.blob(repository, Buffer.from(`stray of ${repository}`))
  ahead = 2 * HOUR
  const { driver } = server
  const { list } = driver
  driver.list = (prefix) => {
    return prefix === 'repositories/local/team' ? Promise.reject(IO_ERROR) : list.call(driver, prefix)
  }

  const report = await collect(driver)

  driver.list = list
  expect(report).toMatchObject({ failure: 'i/o error', failed: 1, found: { blob: 2, content: 0 } })
  expect((await push.send('GET', `/v2/local/team/app/blobs/${below}`)).status).toBe(200)
  ahead += 2 * HOUR
  expect((await collect(driver)).found).toMatchObject({ blob: 1, content: 3 })
})
