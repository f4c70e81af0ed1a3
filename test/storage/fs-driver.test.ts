import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
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
