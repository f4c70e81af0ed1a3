import { chmod, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { writePrivateFile } from '../../src/lib/private-file.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-private-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const modeOf = async (file: string) => ((await stat(file)).mode & 0o777).toString(8)

test('a new file is for its owner alone, and nothing else is left beside it', async () => {
  await writePrivateFile(join(folder, 'secret'), 'one')

  expect([await readFile(join(folder, 'secret'), 'utf8'), await modeOf(join(folder, 'secret'))]).toEqual(['one', '600'])
  expect(await readdir(folder)).toEqual(['secret'])
})

test('one that was open to others is so no more; whoever reads the old one reads it whole', async () => {
  const file = join(folder, 'secret')
  await writeFile(file, 'one')
  await chmod(file, 0o644)
  const { ino } = await stat(file)

  await writePrivateFile(file, 'two')

  expect([await readFile(file, 'utf8'), await modeOf(file)]).toEqual(['two', '600'])
  expect((await stat(file)).ino).not.toBe(ino)
})

test('a link stays one', async () => {
  await writeFile(join(folder, 'real'), 'one')
  await symlink('real', join(folder, 'link'))

  await writePrivateFile(join(folder, 'link'), 'two')

  expect([await readlink(join(folder, 'link')), await readFile(join(folder, 'real'), 'utf8')]).toEqual(['real', 'two'])
})

test('where it cannot be put nothing is left behind', async () => {
  await writeFile(join(folder, 'file'), '')

  await expect(writePrivateFile(join(folder, 'file', 'secret'), 'x')).rejects.toMatchObject({ code: 'ENOTDIR' })
  await expect(writePrivateFile(join(folder, 'none', 'secret'), 'x')).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await readdir(folder)).toEqual(['file'])
})
