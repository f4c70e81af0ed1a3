import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BlobFill } from '../../src/cache/blob-fill.js'
import type { BlobSource } from '../../src/cache/blob-source.js'
import type { BlobReader } from '../../src/oci/content.js'
import { digestOf } from '../../src/oci/digest.js'
import { ScriptedSource } from './scripted-source.js'

const BIG = 1_500_000
/** No blob here is large enough for several streams. */
const WHOLE = { size: BIG, minBlob: 100 * BIG }

async function readAll(reader: BlobReader, from = 0): Promise<Buffer> {
  const chunks: Buffer[] = []
  try {
    for (let at = from; ; ) {
      const buffer = Buffer.alloc(100_000)
      const count = await reader.read(buffer, at)
      if (count === 0) return Buffer.concat(chunks)
      chunks.push(buffer.subarray(0, count))
      at += count
    }
  } finally {
    await reader.close()
  }
}

/** A promise that a test opens by hand. */
function latch() {
  let open!: () => void
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

describe('BlobFill', () => {
  let dir: string
  let path: string
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'blob-fill-'))
    path = join(dir, 'blob.part')
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  const begin = (content: Buffer, source: BlobSource, options: Partial<Parameters<typeof BlobFill.start>[0]> = {}) =>
    BlobFill.start({ digest: digestOf(content), source, path, segments: WHOLE, admit: () => true, ...options })

  test('readers at different paces, one joining late, all get the whole', async () => {
    const content = randomBytes(BIG)
    const half = latch()
    const source = new ScriptedSource({ content, gate: (at) => (at > BIG / 2 ? half.opened : undefined) })
    const fill = await begin(content, source)
    const first = readAll(fill.reader())
    await expect.poll(() => fill.received).toBeGreaterThan(BIG / 2)

    const late = readAll(fill.reader())
    const middle = readAll(fill.reader(), 1_000_000)
    half.open()

    expect(digestOf(await first)).toBe(fill.digest)
    expect(digestOf(await late)).toBe(fill.digest)
    expect((await middle).equals(content.subarray(1_000_000))).toBe(true)
    expect(source.asked).toEqual([0])
    await fill.done
    expect(digestOf(await readFile(path))).toBe(fill.digest)
    await fill.release()
  })

  test('a stream that breaks is continued at its offset, and the digest runs across', async () => {
    const content = randomBytes(BIG)
    const source = new ScriptedSource({ content, breakAfter: 400_000 }, { content, breakAfter: 300_000 }, { content })
    const fill = await begin(content, source)

    expect(digestOf(await readAll(fill.reader()))).toBe(fill.digest)

    expect(source.asked).toEqual([0, 400_000, 700_000])
    expect(source.failures).toHaveLength(2)
    await fill.release()
  })

  test('what an earlier process left is not asked for again', async () => {
    const content = randomBytes(BIG)
    await writeFile(path, content.subarray(0, 900_000))
    const source = new ScriptedSource({ content })
    const fill = await begin(content, source)

    expect(digestOf(await readAll(fill.reader()))).toBe(fill.digest)

    expect(source.asked).toEqual([900_000])
    await fill.release()
  })

  test('a part file that is complete needs no upstream', async () => {
    const content = randomBytes(BIG)
    await writeFile(path, content)
    const source = new ScriptedSource()
    const fill = await begin(content, source)

    await fill.done

    expect(source.asked).toEqual([])
    expect(fill.size).toBe(BIG)
    await fill.release()
  })

  test('a damaged part file costs one more download and nobody is blamed', async () => {
    const content = randomBytes(BIG)
    await writeFile(path, randomBytes(500_000))
    const source = new ScriptedSource({ content }, { content })
    const fill = await begin(content, source)

    await fill.done

    expect(source.asked).toEqual([500_000, 0])
    expect(source.lies).toBe(0)
    expect(digestOf(await readFile(path))).toBe(fill.digest)
    await fill.release()
  })

  test('a part file longer than the blob is thrown away', async () => {
    const content = randomBytes(BIG)
    await writeFile(path, randomBytes(BIG + 1))
    const source = new ScriptedSource({ content }, { content })
    const fill = await begin(content, source)

    await fill.done

    expect(digestOf(await readFile(path))).toBe(fill.digest)
    await fill.release()
  })

  test('the last byte is held back until the digest matches, and never given when it does not', async () => {
    const content = randomBytes(BIG)
    const lie = Buffer.from(content)
    lie[10] = lie[10]! ^ 1
    const read = latch()
    const source = new ScriptedSource({ content: lie, gate: (at) => (at > BIG / 2 ? read.opened : undefined) })
    const fill = await begin(content, source)
    fill.done.catch(() => {})
    const reader = fill.reader()
    let got = await reader.read(Buffer.alloc(65_536), 0)
    read.open()

    const reading = (async () => {
      for (const buffer = Buffer.alloc(65_536); ; ) got += await reader.read(buffer, got)
    })()

    await expect(reading).rejects.toThrow('did not match the digest')
    expect(got).toBeLessThan(BIG)
    expect(source.lies).toBe(1)
    await reader.close()
    await expect(fill.done).rejects.toThrow('no upstream is left')
    await fill.release()
  })

  test('with every byte here and the digest not compared yet, all but the last one can be read', async () => {
    const content = randomBytes(BIG)
    const end = latch()
    const fill = await begin(content, new ScriptedSource({ content, endGate: end.opened }))
    const reader = fill.reader()
    await expect.poll(() => fill.received).toBe(BIG)

    await expect.poll(() => reader.read(Buffer.alloc(100), BIG - 10)).toBe(9)
    const last = reader.read(Buffer.alloc(100), BIG - 1)
    end.open()

    expect(await last).toBe(1)
    await reader.close()
    await fill.done
    await fill.release()
  })

  test('a reader that has seen nothing of a lie gets the truth of the next upstream', async () => {
    const content = randomBytes(BIG)
    const lie = Buffer.from(content)
    lie[BIG - 5] = lie[BIG - 5]! ^ 1
    const source = new ScriptedSource({ content: lie }, { content })
    const fill = await begin(content, source)
    const patient = fill.reader()
    await fill.done

    expect(digestOf(await readAll(patient))).toBe(fill.digest)
    expect(source.asked).toEqual([0, 0])
    await fill.release()
  })

  test('a reader that was lied to is told at once, even while no other upstream answers', async () => {
    const content = randomBytes(BIG)
    const lie = Buffer.from(content)
    lie[5] = lie[5]! ^ 1
    const [end, honest] = [latch(), latch()]
    const gate = (at: number) => (at + 16_384 >= BIG ? end.opened : undefined)
    const source = new ScriptedSource({ content: lie, gate }, { content, gate: () => honest.opened })
    const fill = await begin(content, source)
    const reader = fill.reader()
    const beforeEnd = Math.floor(BIG / 16_384) * 16_384
    for (let at = 0; at < beforeEnd; ) at += await reader.read(Buffer.alloc(100_000), at)
    const waiting = reader.read(Buffer.alloc(100_000), beforeEnd)
    // As if all but its last byte had been read: this one stays with the fill until the digest is known.
    const last = expect(waiting.then(() => reader.read(Buffer.alloc(1), BIG - 1))).rejects.toThrow('did not match')

    end.open()

    await last
    honest.open()
    await reader.close()
    await fill.done
    await fill.release()
  })

  test('a small blob is checked before its first byte, so that a lie costs no reader anything', async () => {
    const content = randomBytes(10_000)
    const source = new ScriptedSource({ content: randomBytes(10_000) }, { content: randomBytes(9_000) }, { content })
    const fill = await begin(content, source)
    const reading = readAll(fill.reader())
    await fill.ready

    expect(digestOf(await reading)).toBe(fill.digest)
    expect(fill.size).toBe(10_000)
    expect(source.lies).toBe(2)
    await fill.release()
  })

  test('a small blob that takes its time is not kept from its readers for long', async () => {
    const content = randomBytes(100_000)
    const late = latch()
    const fill = await begin(
      content,
      new ScriptedSource({ content, gate: (at) => (at > 50_000 ? late.opened : undefined) }),
    )
    const reader = fill.reader()

    await fill.ready
    const count = await reader.read(Buffer.alloc(65_536), 0)

    expect(fill.verified).toBe(false)
    expect(count).toBeGreaterThan(0)
    late.open()
    expect(digestOf(await readAll(reader))).toBe(fill.digest)
    await fill.done
    await fill.release()
  })

  test.each([0, 1, 2])('a blob of %i bytes comes whole', async (size) => {
    const content = randomBytes(size)
    const fill = await begin(content, new ScriptedSource({ content }))
    await fill.ready

    expect(fill.size).toBe(size)
    expect((await readAll(fill.reader())).equals(content)).toBe(true)
    await fill.release()
  })

  test('a blob without a length ends where its digest matches', async () => {
    const content = randomBytes(BIG)
    const fill = await begin(content, new ScriptedSource({ content, size: undefined }))
    const reading = readAll(fill.reader())
    await fill.ready
    expect(fill.size).toBeUndefined()

    expect(digestOf(await reading)).toBe(fill.digest)
    await fill.release()
  })

  test('sha512 is computed when the digest says so', async () => {
    const content = randomBytes(BIG)
    const fill = await begin(content, new ScriptedSource({ content }), { digest: digestOf(content, 'sha512') })

    await fill.done

    expect(fill.received).toBe(BIG)
    await fill.release()
  })

  test('the download goes on when its only reader leaves', async () => {
    const content = randomBytes(BIG)
    const half = latch()
    const fill = await begin(
      content,
      new ScriptedSource({ content, gate: (at) => (at > BIG / 2 ? half.opened : undefined) }),
    )
    const reader = fill.reader()
    await reader.read(Buffer.alloc(1000), 0)
    await reader.close()
    half.open()

    await fill.done

    expect(digestOf(await readFile(path))).toBe(fill.digest)
    await fill.release()
  })

  test('closing a reader ends a read that waits', async () => {
    const content = randomBytes(BIG)
    const never = latch()
    const fill = await begin(
      content,
      new ScriptedSource({ content, gate: (at) => (at > BIG / 2 ? never.opened : undefined) }),
    )
    const reader = fill.reader()
    const waiting = reader.read(Buffer.alloc(10), BIG - 100)
    await expect.poll(() => fill.received).toBeGreaterThan(BIG / 2)

    await reader.close()

    await expect(waiting).rejects.toThrow('closed')
    never.open()
    await fill.done
    await fill.release()
  })

  test('stopping keeps the part file', async () => {
    const content = randomBytes(BIG)
    const endless = latch()
    const fill = await begin(
      content,
      new ScriptedSource({ content, breakAfter: 600_000 }, { content, gate: () => endless.opened }),
    )
    await expect.poll(() => fill.received).toBe(600_000)
    fill.stop()
    endless.open()
    await expect(fill.done).rejects.toThrow('stopping')
    await fill.release()

    const next = await BlobFill.start({
      digest: fill.digest,
      source: new ScriptedSource({ content }),
      segments: WHOLE,
      path,
      admit: () => true,
    })

    await next.done
    expect(digestOf(await readFile(path))).toBe(fill.digest)
    await next.release()
  })

  describe('without room on disk', () => {
    test('a blob that is not admitted passes through at the pace of its reader, in bounded memory', async () => {
      const content = randomBytes(30_000_000)
      let given = 0
      const note = (at: number) => {
        given = at
      }
      const source = new ScriptedSource({ content, chunk: 1_000_000, gate: note })
      const fill = await begin(content, source, { admit: () => false })
      const reader = fill.reader()
      await fill.ready
      await expect.poll(() => fill.received).toBeGreaterThanOrEqual(8_000_000)
      const ahead = given

      const got = await readAll(reader)

      expect(digestOf(got)).toBe(fill.digest)
      expect(ahead).toBeLessThan(10_000_000)
      await fill.done
      expect(fill.file).toBeUndefined()
      await fill.release()
    })

    test('a path that cannot be written still passes through', async () => {
      const content = randomBytes(BIG)
      const fill = await begin(content, new ScriptedSource({ content }), { path: join(dir, 'absent', 'blob.part') })

      expect(digestOf(await readAll(fill.reader()))).toBe(fill.digest)

      await fill.done
      expect(fill.file).toBeUndefined()
      expect(fill.spoolFailure).toBeInstanceOf(Error)
      await fill.release()
    })

    test('a lie about a blob that cannot be kept cuts its reader and does not hang the next', async () => {
      const content = randomBytes(20_000_000)
      const lie = Buffer.from(content)
      lie[5] = lie[5]! ^ 1
      const joined = latch()
      const source = new ScriptedSource({ content: lie }, { content, gate: () => joined.opened })
      const fill = await begin(content, source, { path: undefined, admit: () => false })
      const first = readAll(fill.reader()).catch((error: Error) => error.message)
      await expect.poll(() => source.lies, { timeout: 5000 }).toBe(1)
      const next = fill.reader()
      joined.open()

      expect(digestOf(await readAll(next))).toBe(fill.digest)
      expect(await first).toContain('did not match')
      await fill.done
      await fill.release()
    })

    test('a reader that begins while a lie is being thrown away is cut with the others', async () => {
      const content = randomBytes(BIG)
      const lie = Buffer.from(content)
      lie[5] = lie[5]! ^ 1
      const source = new ScriptedSource({ content: lie }, { content })
      const fill = await begin(content, source, { path: undefined, admit: () => false })
      const early = fill.reader()
      const late = fill.reader()
      let got: Promise<unknown> | undefined
      source.lied = () =>
        queueMicrotask(() => {
          got = readAll(late).catch((error: Error) => error.message)
        })

      await fill.done

      expect(await got).toContain('did not match')
      await early.close()
      await fill.release()
    })

    test('a blob found out in the middle to be too large loses nothing that was being written', async () => {
      const content = randomBytes(BIG)
      const source = new ScriptedSource({ content, size: undefined, breakAfter: 1_000_000 }, { content, chunk: 64 })
      const fill = await begin(content, source, { admit: (size) => size < BIG })

      expect(digestOf(await readAll(fill.reader()))).toBe(fill.digest)

      await fill.done
      expect(fill.file).toBeUndefined()
      await fill.release()
    })

    test('stopped while it waits for a slow reader it ends at once', async () => {
      const content = randomBytes(20_000_000)
      const fill = await begin(content, new ScriptedSource({ content }), { path: undefined, admit: () => false })
      const reader = fill.reader()
      await reader.read(Buffer.alloc(1000), 0)
      await expect.poll(() => fill.received).toBeGreaterThan(8_000_000)

      fill.stop()

      await expect(fill.done).rejects.toThrow('stopping')
      await reader.close()
      await fill.release()
    })

    test('it ends when nobody reads any more', async () => {
      const content = randomBytes(20_000_000)
      const fill = await begin(content, new ScriptedSource({ content }), { path: undefined, admit: () => false })
      const reader = fill.reader()
      await reader.read(Buffer.alloc(1000), 0)

      await reader.close()

      await expect(fill.done).rejects.toThrow('nobody reads it')
      await fill.release()
    })
  })
})
