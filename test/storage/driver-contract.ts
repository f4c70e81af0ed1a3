import { randomBytes } from 'node:crypto'
import { mkdtemp, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import type { StorageDriver, StoredObject } from '../../src/storage/driver.js'

export interface EmptyDriver {
  driver: StorageDriver
  /** Where files to be adopted lie. */
  stagingDir: string
}

/** What every storage driver promises; each driver's test file calls this with a maker of empty drivers. */
export function describeDriverContract(name: string, makeEmpty: () => Promise<EmptyDriver>): void {
  describe(`${name} keeps the StorageDriver contract`, () => {
    let driver: StorageDriver
    let stagingDir: string

    beforeEach(async () => {
      ;({ driver, stagingDir } = await makeEmpty())
    })

    async function adopt(key: string, content: string | Uint8Array): Promise<string> {
      const file = join(stagingDir, `${randomBytes(8).toString('hex')}.part`)
      await writeFile(file, content)
      await driver.adopt(file, key)
      return file
    }

    test('an absent key has no stat, no content and nothing to open', async () => {
      await driver.put('blobs/a', 'a')

      for (const key of ['blobs/b', 'nothing/at/all', 'blobs/a/below', 'blobs']) {
        expect(await driver.stat(key)).toBeUndefined()
        expect(await driver.open(key)).toBeUndefined()
      }
      expect(await driver.get('blobs/b')).toBeUndefined()
      expect(await driver.get('blobs/a/below')).toBeUndefined()
    })

    test('what was put is read back, and replaced by the next put', async () => {
      await driver.put('tags/latest', 'old')
      await driver.put('tags/latest', Buffer.from('newer'))

      expect((await driver.get('tags/latest'))?.toString()).toBe('newer')
      expect((await driver.stat('tags/latest'))?.size).toBe(5)
    })

    test('an empty object is there', async () => {
      await driver.put('links/a', '')

      expect((await driver.stat('links/a'))?.size).toBe(0)
      expect((await driver.get('links/a'))?.length).toBe(0)
    })

    test('stat tells the same of several keys at once, however many', async () => {
      const keys = Array.from({ length: 300 }, (_, at) => (at % 3 === 0 ? `absent/${at}` : `keys/${at}`))
      for (const key of keys) if (key.startsWith('keys/')) await driver.put(key, key)
      keys.push('keys', 'keys/1/below')

      expect(await driver.statAll(keys)).toEqual(await Promise.all(keys.map((key) => driver.stat(key))))
      expect(await driver.statAll([])).toEqual([])
    })

    test('stat tells the last change in ms since the epoch', async () => {
      await driver.put('a', 'a')

      expect(Math.abs((await driver.stat('a'))!.modifiedAt - Date.now())).toBeLessThan(60_000)
    })

    test('an adopted file is read back from any position and is gone from where it was', async () => {
      const file = await adopt('blobs/a', '0123456789')

      const object = (await driver.open('blobs/a'))!
      expect(object.size).toBe(10)
      expect(await textOf(object, 2, 3)).toBe('234')
      expect(await textOf(object, 8, 10)).toBe('89')
      expect(await object.read(Buffer.alloc(4), 10)).toBe(0)
      await object.close()
      await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    test('a large object has the bytes that were adopted', async () => {
      const content = randomBytes(3_000_000)
      await adopt('blobs/large', content)

      const object = (await driver.open('blobs/large'))!
      expect(digestOf(await wholeOf(object))).toBe(digestOf(content))
      await object.close()
    })

    test('adopting again replaces, and a reader already open keeps the old bytes', async () => {
      await adopt('blobs/a', 'old')
      const reader = (await driver.open('blobs/a'))!

      await adopt('blobs/a', 'newer')

      expect(await textOf(reader, 0, 10)).toBe('old')
      expect((await driver.get('blobs/a'))?.toString()).toBe('newer')
      await reader.close()
    })

    test('a file that does not exist cannot be adopted, and nothing appears', async () => {
      await expect(driver.adopt(join(stagingDir, 'nothing'), 'blobs/a')).rejects.toMatchObject({ code: 'ENOENT' })

      expect(await driver.stat('blobs/a')).toBeUndefined()
    })

    test('a deleted key is absent, a reader already open reads to the end, and deleting it again is no error', async () => {
      await adopt('blobs/a', 'content')
      const reader = (await driver.open('blobs/a'))!

      await driver.delete('blobs/a')
      await driver.delete('blobs/a')

      expect(await driver.stat('blobs/a')).toBeUndefined()
      expect(await textOf(reader, 0, 10)).toBe('content')
      await reader.close()
    })

    test('what was discarded is absent at once as well, and settling is no error, with something deleted or not', async () => {
      await adopt('blobs/ab/a', 'content')
      await driver.put('links/below/a', '')
      await driver.settle()

      await driver.discard('blobs/ab/a')
      await driver.discard('blobs/ab/a')
      await driver.delete('links/below/a')
      await driver.delete('absent/folder/a')
      await Promise.all([driver.settle(), driver.settle()])

      expect([await driver.list('blobs'), await driver.list('links')]).toEqual([[], []])
    })

    test('closing twice is no error', async () => {
      await driver.put('a', 'a')
      const object = (await driver.open('a'))!

      await object.close()
      await object.close()
    })

    test('list names what lies directly below, in lexical order, with a slash where more is below', async () => {
      for (const key of ['r/b', 'r/a/x', 'r/a/y', 'r/a-b', 'r/a.c/z', 'other']) await driver.put(key, '')

      expect(await driver.list('r')).toEqual(['a-b', 'a.c/', 'a/', 'b'])
      expect(await driver.list('r/a')).toEqual(['x', 'y'])
      expect(await driver.list('r/b')).toEqual([])
      expect(await driver.list('absent')).toEqual([])
    })

    test('list forgets what has no keys below it any more', async () => {
      await driver.put('r/a/b/c', '')
      await driver.put('r/keep', '')

      await driver.delete('r/a/b/c')

      expect(await driver.list('r')).toEqual(['keep'])
    })

    test('a reader of a key that is replaced all the time sees one whole object or the other', async () => {
      const objects = [Buffer.alloc(200_000, 'a'), Buffer.alloc(300_000, 'b')]
      await driver.put('k', objects[0]!)
      const known = objects.map((object) => digestOf(object))
      let done = false
      const writing = (async () => {
        for (let round = 0; round < 20; round++) await driver.put('k', objects[round % 2]!)
        done = true
      })()

      const seen = new Set<string>()
      while (!done) seen.add(digestOf((await driver.get('k'))!))

      await writing
      expect([...seen].filter((digest) => !known.includes(digest as (typeof known)[number]))).toEqual([])
    })

    test('keys come and go side by side in one folder without harm', async () => {
      const rounds = Array.from({ length: 8 }, async (_, lane) => {
        for (let round = 0; round < 25; round++) {
          const key = `r/folder/${lane}`
          await driver.put(key, key)
          expect((await driver.get(key))?.toString()).toBe(key)
          await driver.delete(key)
        }
      })

      await Promise.all(rounds)

      expect(await driver.list('r')).toEqual([])
    })

    test('names are the listed ones, however many', async () => {
      const keys = Array.from({ length: 300 }, (_, at) => `many/k${at}`)
      for (const key of [...keys, 'many/below/a']) await driver.put(key, '')

      const names = await collected(driver.names('many'))

      expect(names.sort()).toEqual(await driver.list('many'))
      expect(await collected(driver.names('absent'))).toEqual([])
    })

    test('tidying takes away only what has no key below it', async () => {
      await driver.put('a/b/c', '')

      await driver.tidy('a/b')
      await driver.tidy('absent/folder')

      expect(await driver.list('a')).toEqual(['b/'])
    })
  })
}

export async function emptyFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'entrepot-driver-'))
}

async function textOf(object: StoredObject, position: number, length: number): Promise<string> {
  const buffer = Buffer.alloc(length)
  return buffer.subarray(0, await object.read(buffer, position)).toString()
}

async function wholeOf(object: StoredObject): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let position = 0; ; ) {
    const buffer = Buffer.alloc(256 * 1024)
    const count = await object.read(buffer, position)
    if (count === 0) return Buffer.concat(chunks)
    chunks.push(buffer.subarray(0, count))
    position += count
  }
}

async function collected(names: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = []
  for await (const name of names) all.push(name)
  return all
}
