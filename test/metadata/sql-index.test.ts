import { mkdirSync, renameSync, rmdirSync, truncateSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from '@photostructure/sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SqlIndex } from '../../src/metadata/sql-index.js'
import { sizeOnDisk } from '../../src/metadata/statements.js'
import { digestOf } from '../../src/oci/digest.js'
import { temporaryFolder } from '../helpers/local-server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let file: string
let clock: number
let index: SqlIndex

const open = () => SqlIndex.open({ file, now: () => clock })

beforeEach(async () => {
  folder = await temporaryFolder()
  file = join(folder.path, 'index.db')
  clock = 1_000_000
  index = open().index
})

afterEach(async () => {
  index.close()
  await folder.remove()
})

const digest = (name: string) => digestOf(Buffer.from(name))
const cache = (name: string, size = 5000, manifest = false) =>
  index.addCached({ digest: digest(name), size, manifest, source: 'nju' })
const pushed = (name: string, size = 5000) => index.addPushed({ digest: digest(name), size, manifest: false })
const oldest = (limit = 100) => index.leastRecentlyUsed(limit).map((row) => row.digest)

describe('rows', () => {
  test('say what a blob is kept for, and go when it is kept for nothing', () => {
    cache('a')
    pushed('a')
    expect(index.find(digest('a'))).toEqual({
      digest: digest('a'),
      size: 5000,
      cached: true,
      pushed: true,
      source: 'nju',
      usedAt: 1_000_000,
    })

    index.drop(digest('a'), 'cached')
    expect(index.find(digest('a'))).toMatchObject({ cached: false, pushed: true })
    index.drop(digest('a'), 'pushed')

    expect(index.find(digest('a'))).toBeUndefined()
  })

  test('are read page by page in the order of their digests', () => {
    const digests = ['a', 'b', 'c', 'd', 'e'].map(digest).sort()
    for (const name of ['a', 'b', 'c', 'd', 'e']) cache(name)

    const first = index.rowsAfter(undefined, 3).map((row) => row.digest)
    const second = index.rowsAfter(first.at(-1), 3).map((row) => row.digest)

    expect([first, second]).toEqual([digests.slice(0, 3), digests.slice(3)])
    expect(index.rowsAfter(second.at(-1), 3)).toEqual([])
  })

  test('are noted as found, all or none, and what is known of one already stays', () => {
    const found = { size: 5000, manifest: false }
    pushed('a')
    cache('b')
    cache('c')
    const before = [...'abc'].map((name) => index.find(digest(name)))
    const totals = index.cacheTotals()
    const half = () =>
      index.addFound([
        { ...found, digest: digest('d'), pushed: true },
        { ...found, size: 0.5 },
      ] as never)
    expect(half).toThrow()
    expect([index.find(digest('d')), index.pushedBytes(), index.cacheTotals()]).toEqual([undefined, 5000, totals])

    const added = index.addFound(
      [...'abcde'].map((name) => ({ ...found, digest: digest(name), pushed: 'bd'.includes(name) })),
    )

    expect(added).toBe(2)
    expect([...'abc'].map((name) => index.find(digest(name)))).toEqual([
      before[0],
      { ...before[1], size: 5000, pushed: true },
      before[2],
    ])
    expect(index.find(digest('d'))).toMatchObject({ size: 5000, cached: false, pushed: true })
    expect(index.find(digest('e'))).toMatchObject({ size: 5000, cached: true, pushed: false })
    expect([index.pushedBytes(), index.cacheTotals().blobs]).toEqual([15_000, 3])
  })

  test('tell a use before it is written', () => {
    pushed('a')
    clock += 5000

    index.touch(digest('a'))

    expect(index.find(digest('a'))?.usedAt).toBe(1_005_000)
  })

  test('dropping what is not there is no error', () => {
    index.drop(digest('a'), 'cached')

    expect(index.find(digest('a'))).toBeUndefined()
  })
})

describe('totals', () => {
  test('count what is fetched in whole blocks, a manifest with its link, and leave out what a push keeps', () => {
    cache('blob', 5000)
    cache('manifest', 700, true)
    cache('kept', 9000)
    pushed('kept', 9000)
    pushed('only pushed', 100)

    expect(index.cacheTotals()).toEqual({ blobs: 2, manifests: 1, sizeBytes: 8192 + 4096 + 4096 })
    expect(index.pushedBytes()).toBe(9100)
  })

  test('stay the same however often a blob comes, and are the same after opening anew', () => {
    for (let round = 0; round < 3; round++) cache('a', 5000)
    cache('b', 1, true)
    pushed('c', 10)
    index.drop(digest('b'), 'cached')
    const before = [index.cacheTotals(), index.pushedBytes()]

    index.close()
    index = open().index

    expect(before).toEqual([{ blobs: 1, manifests: 0, sizeBytes: 8192 }, 10])
    expect([index.cacheTotals(), index.pushedBytes()]).toEqual(before)
  })

  test('an empty blob takes no block', () => {
    expect([sizeOnDisk(0, false), sizeOnDisk(1, false), sizeOnDisk(4096, false), sizeOnDisk(4097, true)]).toEqual([
      0, 4096, 4096, 12_288,
    ])
  })
})

describe('recency', () => {
  test('orders what may be evicted, the longest unused first, without what a push keeps', () => {
    for (const name of ['a', 'b', 'c']) {
      clock++
      cache(name)
    }
    pushed('b')
    clock++
    index.touch(digest('a'))

    expect(oldest()).toEqual([digest('c'), digest('a')])
    expect(oldest(1)).toEqual([digest('c')])
  })

  test('using a parent uses all that it needs, at any depth', () => {
    for (const name of ['layer', 'config', 'manifest', 'index', 'other']) {
      clock++
      cache(name)
    }
    index.setChildren(digest('index'), [digest('manifest')])
    index.setChildren(digest('manifest'), [digest('config'), digest('layer')])
    clock++

    index.touch(digest('index'))

    expect(oldest(1)).toEqual([digest('other')])
  })

  test('a cycle of children ends', () => {
    cache('a')
    index.setChildren(digest('a'), [digest('b')])
    index.setChildren(digest('b'), [digest('a')])

    index.touch(digest('a'))
    index.flush()

    expect(oldest()).toEqual([digest('a')])
  })

  test('survives closing and opening', () => {
    cache('a')
    clock++
    cache('b')
    clock++
    index.touch(digest('a'))

    index.close()
    index = open().index

    expect(oldest()).toEqual([digest('b'), digest('a')])
  })
})

describe('values', () => {
  test('are kept by name', () => {
    index.setValue('since', '1')
    index.setValue('since', '2')

    index.close()
    index = open().index

    expect(index.getValue('since')).toBe('2')
    expect(index.getValue('absent')).toBeUndefined()
  })
})

describe('opening', () => {
  test('tells a new index from one that is known, and an orderly end from another', () => {
    index.reconciled()
    index.close()
    const again = open()
    const whileOpen = open()
    whileOpen.index.close()
    again.index.close()
    index = SqlIndex.open({ file: join(folder.path, 'other.db'), now: () => clock }).index

    expect([again.fresh, again.clean]).toEqual([false, true])
    expect(whileOpen.clean).toBe(false)
  })

  test('of one that was never in line with the stored files is of a new one: the walk was cut short', () => {
    cache('a')
    index.close()

    const opened = open()
    index = opened.index

    expect(opened).toMatchObject({ fresh: true, clean: false })
    expect(index.find(digest('a'))).toBeDefined()
  })

  test('after an unclean end and an orderly one, with no comparison in between, is not clean yet', () => {
    index.reconciled()
    const compared = open()
    compared.index.close()
    index.close()

    const opened = [open(), open()]
    for (const { index } of opened) index.close()
    const afterwards = open()
    index = afterwards.index

    expect(opened.map(({ clean }) => clean)).toEqual([true, false])
    expect([afterwards.fresh, afterwards.clean]).toEqual([false, true])
  })

  test.each([
    ['is empty', () => writeFileSync(file, '')],
    [
      'is no database',
      () => writeFileSync(file, 'not a database, but quite long enough to be taken for one'.repeat(100)),
    ],
    ['was cut', () => truncateSync(file, 5000)],
    [
      'is of a newer version',
      () => {
        const db = new DatabaseSync(file)
        db.exec('PRAGMA user_version = 99')
        db.close()
      },
    ],
  ])('a file that %s is made anew and works', async (_case, damage) => {
    cache('a')
    index.close()
    damage()

    const opened = open()
    index = opened.index

    expect(opened.clean).toBe(false)
    expect(index.find(digest('a'))).toBeUndefined()
    cache('b')
    expect(index.find(digest('b'))).toBeDefined()
    expect((await stat(file)).size).toBeGreaterThan(0)
  })

  test('of a damaged file is told as such, so that the storage is walked', () => {
    index.close()
    writeFileSync(file, '')

    const opened = open()
    index = opened.index

    expect(opened.fresh).toBe(true)
  })
})

test('where its file cannot be made it is kept in memory, and says so', () => {
  const opened = SqlIndex.open({ file: join(folder.path, 'absent', 'index.db'), now: () => clock })

  expect(opened).toMatchObject({ fresh: true, trouble: { inMemory: true } })
  opened.index.addCached({ digest: digest('a'), size: 5000, manifest: false })
  expect(opened.index.find(digest('a'))).toMatchObject({ size: 5000, cached: true })
  opened.index.close()
})

test('what happened while it was kept in memory is missing in the file, which is known by that when it is opened again', () => {
  index.reconciled()
  index.close()
  renameSync(file, `${file}.away`)
  // SQLite cannot open it, as on a full disk.
  mkdirSync(file)
  const inMemory = open()
  inMemory.index.reconciled()
  inMemory.index.close()
  rmdirSync(file)
  renameSync(`${file}.away`, file)

  const opened = open()
  index = opened.index

  expect(inMemory.trouble).toMatchObject({ inMemory: true })
  expect(opened).toMatchObject({ fresh: false, clean: false })
})
