import { afterEach, beforeEach, expect, test } from 'vitest'
import { repositoriesIn } from '../../src/registry/catalog.js'
import type { StorageDriver } from '../../src/storage/driver.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let listed: string[]
let driver: StorageDriver

beforeEach(async () => {
  folder = await temporaryFolder()
  storage = await openStorage(folder.path)
  listed = []
  driver = Object.create(storage.driver, {
    list: {
      value: (prefix: string) => {
        listed.push(prefix)
        return storage.driver.list(prefix)
      },
    },
  }) as StorageDriver
})

afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

const add = (name: string, link = '_tags/v1') => storage.driver.put(`repositories/${name}/${link}`, '{}')
const first = async (names: AsyncGenerator<string>) => (await names.next()).value as string | undefined

test('reads no folder that lies wholly before the page, and none after its end', async () => {
  for (const name of ['local/a/deep', 'local/b/x', 'local/b/y', 'local/c', 'team/x']) await add(name)

  expect(await first(repositoriesIn(driver, ['local', 'team'], 'local/b/x'))).toBe('local/b/y')

  expect(listed).toEqual(['', '/b', '/b/x', '/b/y'].map((folder) => `repositories/local${folder}`))
})

test('lists no repository outside the namespaces', async () => {
  await add('docker.io/library/nginx')
  await add('local/a')

  const names = []
  for await (const name of repositoriesIn(driver, ['local'])) names.push(name)

  expect(names).toEqual(['local/a'])
  expect(listed.filter((prefix) => prefix.includes('docker.io'))).toEqual([])
})

test('a repository that holds blobs alone is none yet', async () => {
  await add('local/a', '_blobs/sha256/00')
  await add('local/b', '_manifests/sha256/00')

  expect(await first(repositoriesIn(storage.driver, ['local']))).toBe('local/b')
})
