import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { Repository, Tag } from '../../src/oci/reference.js'
import { Directory } from '../../src/registry/directory.js'
import { RepositoryLinks } from '../../src/registry/repository-links.js'
import type { StorageDriver } from '../../src/storage/driver.js'
import { openStorage, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { pushContents, pusher } from '../helpers/push.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let driver: StorageDriver
let lists: number
/** Where the next listing waits, if anywhere. */
let held: Promise<void> | undefined
let directory: Directory

beforeEach(async () => {
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  lists = 0
  held = undefined
  driver = Object.create(storage.driver, {
    list: {
      value: async (prefix: string) => {
        lists++
        const names = await storage.driver.list(prefix)
        await held
        return names
      },
    },
  }) as StorageDriver
  directory = restarted()
})

afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

const restarted = () => new Directory({ driver, links: (repository) => new RepositoryLinks({ repository, driver }) })
const APP = 'local/app' as Repository
const write = (name: string, tag: string) => storage.driver.put(`repositories/${name}/_tags/${tag}`, '{}')
const remove = (name: string, tag: string) => storage.driver.delete(`repositories/${name}/_tags/${tag}`)

async function put(name: string, tag: string): Promise<void> {
  await write(name, tag)
  await directory.added(name as Repository, tag as Tag)
}

test('lists and counts are the same as after a restart, whatever comes and goes', async () => {
  for (const tag of ['v2', 'V1', 'latest', 'v1', 'v2', 'v10']) await put('local/app', tag)
  await put('local/app-b', 'x')
  await put('local/app/sub', 'x')
  await remove('local/app', 'v2')
  await directory.recount(APP)
  await remove('local/app-b', 'x')
  await directory.recount('local/app-b' as Repository)

  const again = restarted()
  await again.start(['local'])

  for (const each of [directory, again]) {
    expect(await each.tags(APP)).toEqual(['latest', 'V1', 'v1', 'v10'])
    expect(each.totals).toEqual({ repositories: 2, tags: 5 })
    expect(each.page({}, () => true)).toEqual({ repositories: ['local/app', 'local/app/sub'], more: false })
  }
})

test('nothing is listed for tags that go while others stay, and the last one takes the repository along', async () => {
  for (const tag of ['v1', 'V2', 'v2', 'v3']) await put('local/app', tag)
  await directory.tags(APP)
  const goes = async (...tags: string[]) => {
    for (const tag of tags) await remove('local/app', tag)
    lists = 0
    await directory.removed(APP, tags as Tag[])
    return { tags: directory.totals.tags, lists }
  }

  expect(await goes('v2', 'v1')).toEqual({ tags: 2, lists: 0 })
  expect(await directory.tags(APP)).toEqual(['V2', 'v3'])
  expect(await goes()).toEqual({ tags: 2, lists: 0 })
  await goes('V2', 'v3')

  expect(directory.totals).toEqual({ repositories: 0, tags: 0 })
  expect(await directory.tags(APP)).toEqual([])
})

test('a tag that goes while the list is read is not in the next list', async () => {
  for (const tag of ['v1', 'v2']) await write('local/app', tag)
  await directory.start(['local'])
  let letGo = () => {}
  held = new Promise((resolve) => {
    letGo = resolve
  })
  lists = 0
  const reading = directory.tags(APP)
  await expect.poll(() => lists).toBe(1)
  held = undefined
  await remove('local/app', 'v2')
  await directory.removed(APP, ['v2' as Tag])
  letGo()
  await reading

  expect(await directory.tags(APP)).toEqual(['v1'])
})

test('nothing is read for a list that is known, nor for a tag that is added to it', async () => {
  await put('local/app', 'v1')
  await directory.tags(APP)
  lists = 0

  await put('local/app', 'v2')
  await put('local/app', 'v2')

  expect(await directory.tags(APP)).toEqual(['v1', 'v2'])
  expect(directory.totals).toEqual({ repositories: 1, tags: 2 })
  expect(lists).toBe(0)
})

test('a tag that comes while the list is read is in the next list', async () => {
  await write('local/app', 'v1')
  let letGo = () => {}
  held = new Promise((resolve) => {
    letGo = resolve
  })
  const reading = directory.tags(APP)
  await expect.poll(() => lists).toBe(1)
  held = undefined
  await put('local/app', 'v2')
  letGo()
  await reading

  expect(await directory.tags(APP)).toEqual(['v1', 'v2'])
})

test('nothing outside the namespaces is a local repository, nor what holds blobs alone', async () => {
  for (const link of ['docker.io/library/nginx/_tags/v1', 'local/a/_blobs/sha256/00', 'local/b/_manifests/sha256/00']) {
    await storage.driver.put(`repositories/${link}`, '{}')
  }

  await directory.start(['local'])

  expect(directory.page({}, () => true).repositories).toEqual(['local/b'])
  expect(directory.totals).toEqual({ repositories: 1, tags: 0 })
})

test('pages of what may be seen are full, and come to an end', async () => {
  for (let n = 0; n < 10; n++) await put(`local/app-${n}`, 'v1')
  const isShown = (repository: string) => Number(repository.at(-1)) % 2 === 0
  const first = directory.page({ n: 3 }, isShown)
  const second = directory.page({ n: 3, last: first.repositories.at(-1) }, isShown)

  expect(first).toEqual({ repositories: ['local/app-0', 'local/app-2', 'local/app-4'], more: true })
  expect(second).toEqual({ repositories: ['local/app-6', 'local/app-8'], more: false })
})

test('those near a name are as many as asked, half of them before it, whether it is there or not', async () => {
  for (let n = 0; n < 9; n++) await put(`local/app-${n}`, 'v1')
  const near = (name: string) => directory.near(name as Repository, 4).map((each) => each.slice('local/app-'.length))

  expect(near('local/app-45')).toEqual(['3', '4', '5', '6'])
  expect(near('local/app-4')).toEqual(['3', '4', '5', '6'])
  expect([near('local/a'), near('local/z')]).toEqual([
    ['0', '1'],
    ['7', '8'],
  ])
})

test('a change that a full disk ends midway is counted as far as it came, and a deletion goes on without its marks', async () => {
  const full = await temporaryFolder()
  const server = await startLocalServer(full.path)
  const push = pusher(server.url)
  const descriptor = (content: Buffer) => ({
    mediaType: MEDIA_TYPES.ociManifest,
    digest: digestOf(content),
    size: content.length,
  })
  const put = async (repository: string, content: Buffer, reference: string = digestOf(content), type?: string) =>
    (await push.manifest(repository, reference, content, type)).status
  const remove = async (digest: Digest) => (await push.send('DELETE', `/v2/local/app/manifests/${digest}`)).status
  const child = await pushContents(push, 'local/app', ['one'])
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [descriptor(child)] }
  const content = Buffer.from(JSON.stringify(index))
  const referrer = await pushContents(push, 'local/signed', ['two'], { subject: descriptor(child) })
  await put('local/app', child)
  await put('local/app', content, 'old', MEDIA_TYPES.ociIndex)
  const before = server.registry.totals()
  const { put: write } = server.driver
  server.driver.put = (key, bytes) => {
    const isMarked = key.includes('_referrers') || key.endsWith(digestOf(child).slice(7))
    if (!isMarked) return write.call(server.driver, key, bytes)
    return Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }))
  }

  const statuses = [await remove(digestOf(content)), await put('local/signed', referrer)]

  expect(before).toEqual({ repositories: 1, tags: 1 })
  expect(statuses).toEqual([202, 507])
  expect(server.registry.totals()).toEqual({ repositories: 2, tags: 0 })
  expect((await push.send('GET', `/v2/local/app/manifests/${digestOf(content)}`)).status).toBe(404)
  const listed = await push.send('GET', '/v2/local/app/tags/list')
  expect(await listed.json()).toMatchObject({ tags: [] })
  await server.kill()
  await full.remove()
})
