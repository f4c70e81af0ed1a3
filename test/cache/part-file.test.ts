import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { PartFile } from '../../src/cache/part-file.js'
import { rangesFile } from '../../src/storage/layout.js'

const MIB = 1024 * 1024
const content = randomBytes(4 * MIB)

describe('PartFile', () => {
  let dir: string
  let path: string
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'part-file-'))
    path = join(dir, 'blob.part')
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  const begin = (onWritten = () => {}) => PartFile.open(path, onWritten)
  const journal = () => readFile(rangesFile(path), 'latin1')

  /** Chunks as a stream gives them. */
  function append(file: PartFile, from: number, to: number, chunk = 100_000) {
    for (let at = from; at < to; at += chunk) file.append(at, content.subarray(at, Math.min(to, at + chunk)))
  }

  /** What the next process finds. */
  async function found(): Promise<{ from: number; to: number }[]> {
    const file = await begin()
    const spans = [...file.written.spans]
    await file.close()
    return spans
  }

  async function isRight(file: PartFile): Promise<boolean> {
    for (const { from, to } of file.written.spans) {
      for (let at = from; at < to; ) {
        const buffer = Buffer.alloc(to - at)
        const count = await file.read(buffer, at)
        if (!buffer.subarray(0, count).equals(content.subarray(at, at + count))) return false
        at += count
      }
    }
    return true
  }

  test('written from its beginning on it needs no journal: its length says what is there', async () => {
    const file = await begin()
    append(file, 0, 2 * MIB)
    await file.drained()
    await file.close()

    expect(await readdir(dir)).toEqual(['blob.part'])
    expect(await found()).toEqual([{ from: 0, to: 2 * MIB }])
  })

  test('with gaps, the next process finds what is there and nothing else, and can go on', async () => {
    const file = await begin()
    append(file, MIB, 2 * MIB)
    append(file, 0, 1000)
    append(file, 3 * MIB, 3 * MIB + 5)
    await file.close()
    const spans = [
      { from: 0, to: 1000 },
      { from: MIB, to: 2 * MIB },
      { from: 3 * MIB, to: 3 * MIB + 5 },
    ]

    const next = await begin()
    expect(next.written.spans).toEqual(spans)
    expect(await isRight(next)).toBe(true)
    append(next, 1000, MIB)
    append(next, 2 * MIB, 3 * MIB)
    append(next, 3 * MIB + 5, 4 * MIB)
    await next.drained()
    await next.sealed()

    expect(next.written.spans).toEqual([{ from: 0, to: 4 * MIB }])
    await next.close()
    expect(await readdir(dir)).toEqual(['blob.part'])
    expect((await readFile(path)).equals(content)).toBe(true)
  })

  test('closed while much waits to be written it has all of it, and notes all of it', async () => {
    const file = await begin()
    for (let at = 3 * MIB; at >= 0; at -= MIB) append(file, at, at + MIB, 1000)

    await file.close()

    expect(await found()).toEqual([{ from: 0, to: 4 * MIB }])
    expect((await readFile(path)).equals(content)).toBe(true)
  })

  test('settled, another goes on with it while it is still open to be read', async () => {
    const file = await begin()
    append(file, 2 * MIB, 3 * MIB)
    await file.settled()

    const next = await begin()
    append(next, 0, MIB)
    await next.drained()
    expect(next.written.spans).toEqual([
      { from: 0, to: MIB },
      { from: 2 * MIB, to: 3 * MIB },
    ])
    expect(await isRight(file)).toBe(true)

    await file.close()
    await next.close()
    expect(await found()).toEqual([
      { from: 0, to: MIB },
      { from: 2 * MIB, to: 3 * MIB },
    ])
  })

  test('whenever the process is killed, what the journal says is there is right', async () => {
    const copies: string[] = []
    let copying = Promise.resolve()
    const file = await begin(() => {
      const name = `${path}.${copies.length}`
      copies.push(name)
      // The journal first: what it says then is in the file by the time that is copied.
      copying = copying.then(async () => {
        await copyFile(rangesFile(path), rangesFile(name)).catch(() => {})
        await copyFile(path, name)
      })
    })
    for (let at = 0; at < MIB; at += 250_000)
      for (const place of [3, 1, 2]) {
        append(file, place * MIB + at, Math.min(place * MIB + at + 250_000, (place + 1) * MIB))
        await file.drained()
        await copying
      }
    await file.close()

    for (const copy of copies) {
      const killed = await PartFile.open(copy, () => {})
      expect(await isRight(killed)).toBe(true)
      await killed.close()
    }
    expect(copies.length).toBeGreaterThan(10)
  })

  test.each([
    ['an empty journal', '', []],
    ['a journal whose last line is torn', '0-1000\n2000-3000', [{ from: 0, to: 1000 }]],
    [
      'lines that are none',
      '0-1000\nx\n5000-4000\n2000-3000\n-1-5\n',
      [
        { from: 0, to: 1000 },
        { from: 2000, to: 3000 },
      ],
    ],
    [
      'more than the file has',
      `0-1000\n${MIB - 10}-${2 * MIB}\n`,
      [
        { from: 0, to: 1000 },
        { from: MIB - 10, to: MIB },
      ],
    ],
  ])('beside %s counts what is sure', async (_case, lines, spans) => {
    await writeFile(path, content.subarray(0, MIB))
    await writeFile(rangesFile(path), lines)

    expect(await found()).toEqual(spans)
    expect(await found()).toEqual(spans)
  })

  test('a journal without a part file says nothing', async () => {
    await writeFile(rangesFile(path), '0-1000\n')

    expect(await found()).toEqual([])
  })

  test('cleared it is empty, with gaps or without, and can be begun again', async () => {
    const file = await begin()
    append(file, MIB, 2 * MIB)
    await file.clear()
    expect(file.written.size).toBe(0)
    expect(await readdir(dir)).toEqual(['blob.part'])

    append(file, 0, 1000)
    await file.close()

    expect(await found()).toEqual([{ from: 0, to: 1000 }])
  })

  test('killed between the two steps of clearing it is empty', async () => {
    const file = await begin()
    append(file, MIB, 2 * MIB)
    await file.close()
    const noted = await journal()
    expect(noted).toContain(`${MIB}-`)
    await writeFile(path, '')

    expect(await found()).toEqual([])
  })
})
