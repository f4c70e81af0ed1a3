import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { rebuild } from '../../src/metadata/rebuild.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { blobKey, blobLinkKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let clock: number

const open = async () => {
  storage = await openStorage(folder.path, () => clock)
}

beforeEach(async () => {
  clock = 1_000_000
  folder = await temporaryFolder()
  await open()
})

afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

const isLocal = (repository: string) => repository.startsWith('local/')
const run = () => rebuild({ ...storage, isLocal })

async function keep(content: Uint8Array | string): Promise<Digest> {
  const digest = digestOf(Buffer.from(content as string))
  await storage.driver.put(blobKey(digest), content)
  return digest
}

async function keepManifest(repository: string, content: object | string): Promise<Digest> {
  const digest = await keep(typeof content === 'string' ? content : JSON.stringify(content))
  await storage.driver.put(
    manifestLinkKey(repository, digest),
    JSON.stringify({ source: 'nju', mediaType: MEDIA_TYPES.ociManifest }),
  )
  return digest
}

test('finds every blob again, as pushed where a local repository links to it and as fetched otherwise', async () => {
  const fetched = await keep(randomBytes(5000))
  const pushed = await keep('pushed')
  await storage.driver.put(blobLinkKey('local/app', pushed), '')
  const fetchedManifest = await keepManifest('docker.io/library/nginx', { layers: [] })
  const pushedManifest = await keepManifest('local/deep/er/app', { layers: [], annotations: {} })

  const report = await run()

  expect(report).toEqual({ blobs: 2, manifests: 2, added: 4 })
  expect(storage.index.find(fetched)).toMatchObject({ size: 5000, cached: true, pushed: false })
  expect(storage.index.find(pushed)).toMatchObject({ cached: false, pushed: true })
  expect(storage.index.find(fetchedManifest)).toMatchObject({ cached: true, pushed: false })
  expect(storage.index.find(pushedManifest)).toMatchObject({ cached: false, pushed: true })
  expect(storage.index.cacheTotals()).toMatchObject({ blobs: 1, manifests: 1 })
})

test('learns what a manifest needs, so that using it uses its layers', async () => {
  const layer = await keep('a layer')
  const manifest = await keepManifest('docker.io/library/nginx', { layers: [{ digest: layer, size: 7 }] })
  const other = await keep('unused')
  await run()
  clock++

  storage.index.touch(manifest)

  expect(storage.index.leastRecentlyUsed(1).map(({ digest }) => digest)).toEqual([other])
})

test('after index.db was deleted everything is served again', async () => {
  const pushed = randomBytes(2000)
  const digest = digestOf(pushed)
  await storage.store.put(pushed, { digest, manifest: false }, 'pushed')
  await storage.driver.put(blobLinkKey('local/app', digest), '')
  storage.index.close()
  for (const suffix of ['', '-wal', '-shm']) await rm(join(folder.path, `index.db${suffix}`), { force: true })
  await open()

  expect(await storage.store.open(digest, 'pushed')).toBeUndefined()
  await run()

  const blob = await storage.store.open(digest, 'pushed')
  expect(blob?.size).toBe(2000)
  await blob?.close()
})

test('a push that the index did not hear of is kept from eviction', async () => {
  const digest = await keep('layer')
  storage.index.addCached({ digest, size: 5, manifest: false, source: 'nju' })
  await storage.driver.put(blobLinkKey('local/app', digest), '')

  await run()

  expect(storage.index.find(digest)).toMatchObject({ cached: true, pushed: true, source: 'nju' })
})

test('what a local tag names was pushed, also where its link was lost; what one of a mirrored repository names was fetched', async () => {
  const child = await keep('child')
  const named = await keep(
    JSON.stringify({ manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest: child, size: 5 }] }),
  )
  const fetched = await keep('{"layers":[]}')
  storage.index.addCached({ digest: named, size: 1, manifest: true, source: 'nju' })
  const link = (digest: Digest) => JSON.stringify({ digest, mediaType: MEDIA_TYPES.ociIndex })
  await storage.driver.put(tagLinkKey('local/app', 'v1'), link(named))
  await storage.driver.put(tagLinkKey('local/app', 'damaged'), '{')
  await storage.driver.put(tagLinkKey('docker.io/library/nginx', 'latest'), link(fetched))

  expect(await run()).toMatchObject({ blobs: 2, manifests: 1 })

  expect(storage.index.find(named)).toMatchObject({ cached: true, pushed: true })
  expect(storage.index.find(fetched)).toMatchObject({ cached: true, pushed: false })
})

test('leaves rows alone that are there, with their recency', async () => {
  const digest = await keep('layer')
  storage.index.addCached({ digest, size: 5, manifest: false, source: 'nju' })
  clock += 1000
  const later = await keep('later')

  const report = await run()

  expect(report.added).toBe(1)
  expect(storage.index.find(digest)).toMatchObject({ source: 'nju' })
  expect(storage.index.leastRecentlyUsed(9).map((row) => row.digest)).toEqual([digest, later])
})

test.each([
  ['is no JSON', '{'],
  ['has descriptors that are none', '{"layers":[{"digest":7}]}'],
])('a fetched manifest that %s does not keep the rest from being found', async (_case, content) => {
  const odd = await keepManifest('docker.io/library/odd', content)
  const blob = await keep('zzz')

  await run()

  expect(storage.index.find(odd)).toBeDefined()
  expect(storage.index.find(blob)).toBeDefined()
})

test('what is no blob is left alone', async () => {
  await storage.driver.put('blobs/sha256/ab/not-a-digest', 'x')
  await storage.driver.put('blobs/README', 'x')

  expect(await run()).toEqual({ blobs: 0, manifests: 0, added: 0 })
})
