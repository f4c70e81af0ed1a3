import { chmod, chown, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
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

test.each([
  ['600', '600'],
  ['640', '640'],
  ['400', '400'],
  ['664', '640'],
  ['644', '640'],
  ['777', '640'],
])('one that was there keeps who may read it, but for everybody: %s becomes %s', async (mode, after) => {
  const file = join(folder, 'secret')
  await writeFile(file, 'one')
  await chmod(file, Number.parseInt(mode, 8))
  const { ino } = await stat(file)

  await writePrivateFile(file, 'two')

  expect([await readFile(file, 'utf8'), await modeOf(file)]).toEqual(['two', after])
  // Whoever reads the old one reads it whole.
  expect((await stat(file)).ino).not.toBe(ino)
})

test('and its owner and group, as far as whoever runs this may give them', async () => {
  const file = join(folder, 'secret')
  await writeFile(file, 'one')
  const groups = process.getuid!() === 0 ? [12345] : process.getgroups!()
  const group = groups.find((group) => group !== process.getgid!()) ?? process.getgid!()
  await chown(file, process.getuid!(), group)
  await chmod(file, 0o640)

  await writePrivateFile(file, 'two')

  const { uid, gid } = await stat(file)
  expect([uid, gid, await modeOf(file)]).toEqual([process.getuid!(), group, '640'])
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
