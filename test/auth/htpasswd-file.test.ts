import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HtpasswdFile } from '../../src/auth/htpasswd-file.js'
import { htpasswd } from '../helpers/users.js'

describe('a file of users that is empty, and was not', () => {
  let folder: string
  let path: string
  let file: HtpasswdFile
  let waits: number[]
  let meanwhile: () => Promise<void>
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-htpasswd-'))
    path = join(folder, 'users.htpasswd')
    waits = []
    meanwhile = async () => {}
    const wait = (ms: number) => {
      waits.push(ms)
      return meanwhile()
    }
    file = new HtpasswdFile({ path, log: pino({ level: 'silent' }), wait })
    await writeFile(path, htpasswd({ alice: 'secret' }))
    expect(await names()).toEqual(['alice'])
    await writeFile(path, '')
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))
  const names = async () => [...(await file.users()).keys()]

  test('is read again a moment later, since it may just be written: what it holds then counts', async () => {
    meanwhile = () => writeFile(path, htpasswd({ alice: 'secret', bob: 'geheim' }))

    expect(await names()).toEqual(['alice', 'bob'])
    expect(waits).toEqual([200])
  })

  test('has no users if it is empty then, and is not waited for again', async () => {
    expect([await names(), await names()]).toEqual([[], []])
    await writeFile(path, '\n')
    expect(await names()).toEqual([])
    await writeFile(path, '')
    expect(await names()).toEqual([])

    expect(waits).toEqual([200])
  })
})
