import { readlinkSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FsDriver } from '../../src/storage/fs-driver.js'
import { describeDriverContract, emptyFolder } from './driver-contract.js'

const folders: string[] = []

async function makeEmpty() {
  const folder = await emptyFolder()
  folders.push(folder)
  const [root, stagingDir] = [join(folder, 'root'), join(folder, 'tmp')]
  await mkdir(stagingDir)
  await mkdir(root)
  return { driver: new FsDriver({ root, stagingDir }), root, stagingDir }
}

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

describeDriverContract('fs', makeEmpty)

describe('FsDriver', () => {
  let driver: FsDriver
  let root: string
  let stagingDir: string

  beforeEach(async () => {
    ;({ driver, root, stagingDir } = await makeEmpty())
  })

  test('leaves nothing in the staging folder, whether a put succeeds or fails', async () => {
    await writeFile(join(root, 'file'), '')

    await driver.put('a/b', 'content')
    await expect(driver.put('file/below', 'content')).rejects.toMatchObject({
      code: expect.stringMatching(/ENOTDIR|EEXIST/),
    })

    expect(await readdir(stagingDir)).toEqual([])
  })

  test('a failure other than absence is told', async () => {
    await symlink('loop', join(root, 'loop'))

    await expect(driver.stat('loop')).rejects.toMatchObject({ code: 'ELOOP' })
    await expect(driver.get('loop')).rejects.toMatchObject({ code: 'ELOOP' })
    await expect(driver.open('loop')).rejects.toMatchObject({ code: 'ELOOP' })
  })

  test('tidies up folders that a crash left empty', async () => {
    await mkdir(join(root, 'a/b/c'), { recursive: true })

    await driver.tidy('a/b/c')

    expect(await readdir(root)).toEqual([])
  })

  test('removes folders that became empty, and never its root', async () => {
    await driver.put('a/b/c', '')

    await driver.delete('a/b/c')

    expect(await readdir(root)).toEqual([])
  })
})

describe('after a power failure', () => {
  let driver: FsDriver
  let root: string
  let stagingDir: string
  let synced: string[]
  /** What a sync of the root waits for. */
  let uppermost: Promise<void> | undefined

  /** The folders that were synced since the last call, from the root; in the order of their names. */
  const folders = () =>
    synced
      .splice(0)
      .filter((path) => !path.startsWith('..'))
      .sort()

  beforeEach(async () => {
    ;({ driver, root, stagingDir } = await makeEmpty())
    synced = []
    uppermost = undefined
    const handle = await open(stagingDir)
    const prototype = Object.getPrototypeOf(handle) as FileHandle
    await handle.close()
    const sync = prototype.sync
    vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
      const path = relative(root, readlinkSync(`/proc/self/fd/${this.fd}`))
      await sync.call(this)
      if (path === '') await uppermost
      synced.push(path)
    })
  })
  afterEach(() => vi.restoreAllMocks())

  test('what was put is there, though somebody else made its folders and was cut off before syncing them', async () => {
    await mkdir(join(root, 'a/b'), { recursive: true })

    await driver.put('a/b/one', '')
    expect(folders()).toEqual(['', 'a', 'a/b'])
    await driver.put('a/b/two', '')

    expect(folders()).toEqual(['a/b'])
  })

  test('each of the first ones in a folder is there as soon as it is acknowledged', async () => {
    const acknowledged: string[][] = []
    const put = (key: string) => driver.put(key, '').then(() => acknowledged.push(folders()))
    let go = () => {}
    uppermost = new Promise((resolve) => (go = resolve))

    const first = put('a/b/1')
    await expect.poll(() => readdir(join(root, 'a/b')).catch(() => [])).toEqual(['1'])
    const second = put('a/b/2')
    // Time to be acknowledged too early.
    await setTimeout(50)
    expect(acknowledged).toEqual([])
    go()
    await Promise.all([first, second])

    expect(new Set(acknowledged.flat())).toEqual(new Set(['', 'a', 'a/b']))
  })

  test('what was put into a folder that had gone as empty is there', async () => {
    await driver.put('a/b/one', '')
    await driver.delete('a/b/one')
    folders()

    await driver.put('a/b/one', '')

    expect(folders()).toEqual(['', 'a', 'a/b'])
  })

  test('what was deleted is gone when it has settled: one sync for each folder, and none for what was discarded', async () => {
    for (const key of ['tags/1', 'tags/2', 'tags/3', 'r/below/1', 'r/2', 'blobs/1', 'blobs/2'])
      await driver.put(key, '')
    folders()

    for (const key of ['tags/1', 'tags/2', 'r/below/1']) await driver.delete(key)
    await driver.discard('blobs/1')
    expect(folders()).toEqual([])
    await driver.settle()

    expect(folders()).toEqual(['r', 'tags'])
    await driver.settle()
    expect(folders()).toEqual([])
  })

  test('what was deleted with the folder that it was in is gone when it has settled', async () => {
    for (const key of ['a/b/1', 'a/b/2']) await driver.put(key, '')
    await driver.delete('a/b/1')
    await driver.discard('a/b/2')
    folders()

    await driver.settle()

    expect(folders()).toEqual([''])
  })
})
