import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LineWriter } from '../../src/lib/line-writer.js'

const BUILT = join(import.meta.dirname, '../../dist/lib/line-writer.js')

const folder = mkdtempSync(join(tmpdir(), 'line-writer-'))
const opened: number[] = []
afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd)
})
afterEach(() => rmSync(join(folder, 'lines'), { force: true }))

function open(path: string, flags: string | number): number {
  const fd = openSync(path, flags)
  opened.push(fd)
  return fd
}

/** Both ends of a pipe that holds 64 KiB, neither of which waits. */
function pipe(name: string): { reading: number; writing: number } {
  const path = join(folder, name)
  execFileSync('mkfifo', [path])
  const reading = open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  return { reading, writing: open(path, constants.O_WRONLY | constants.O_NONBLOCK) }
}

function drain(fd: number): string {
  const buffer = Buffer.alloc(1024 * 1024)
  let text = ''
  try {
    for (let count = 1; count > 0; text += buffer.toString('utf8', 0, count)) count = readSync(fd, buffer)
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN')
  }
  return text
}

const line = (n: number) => `${String(n).padStart(99, '.')}\n`
const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => line(from + at)).join('')

describe('LineWriter', () => {
  it('writes all lines in order', async () => {
    const path = join(folder, 'lines')
    const writer = new LineWriter({ fd: open(path, 'w'), limit: 1_000_000, onLost: () => {} })
    for (let n = 0; n < 5_000; n++) writer.write(line(n))
    await expect.poll(() => readFileSync(path, 'utf8').length).toBe(500_000)
    expect(readFileSync(path, 'utf8') === lines(0, 5_000)).toBe(true)
  })

  it('waits for a reader of a full pipe, loses what is beyond the limit, and says how much that was', async () => {
    const { reading, writing } = pipe('slow')
    const lost: number[] = []
    const writer = new LineWriter({ fd: writing, limit: 100_000, onLost: (count) => lost.push(count) })
    for (let n = 0; n < 3_000; n++) writer.write(line(n))
    let read = ''
    const readOn = () => {
      read += drain(reading)
      return read
    }
    await expect.poll(() => readOn().length, { interval: 5 }).toBeGreaterThanOrEqual(100_000)
    expect(read === lines(0, 1_000)).toBe(true)
    writer.write(line(9_999))
    await expect.poll(() => readOn().endsWith(line(9_999))).toBe(true)
    expect(lost).toEqual([2_000])
  })

  it('writes at the end of the process what still waits', () => {
    const path = join(folder, 'lines')
    const writer = new LineWriter({ fd: open(path, 'w'), limit: 1_000_000, onLost: () => {} })
    for (let n = 0; n < 100; n++) writer.write(line(n))
    writer.flushSync()
    expect(readFileSync(path, 'utf8')).toContain(lines(1, 100))
  })

  describe('after a disk that is full in the middle of a line', () => {
    const path = join(folder, 'lines')
    let writer: LineWriter

    beforeEach(async () => {
      let calls = 0
      // Takes one line and a half of two, then nothing, then all.
      const fill = (fd: number, bytes: Buffer, done: (error: Error | null, count: number) => void) => {
        // Of a writer before this one that was flushed.
        if (bytes.length === 0) return done(null, 0)
        calls++
        if (calls === 2) return done(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }), 0)
        done(null, writeSync(fd, bytes, 0, calls === 1 ? 150 : bytes.length))
      }
      vi.spyOn(fs, 'write').mockImplementation(fill as typeof fs.write)
      syncBuiltinESMExports()
      writer = new LineWriter({ fd: open(path, 'w'), limit: 1_000_000, onLost: () => {} })
      writer.write(line(1))
      writer.write(line(2))
      await expect.poll(() => calls).toBe(2)
    })
    afterEach(() => {
      vi.restoreAllMocks()
      syncBuiltinESMExports()
    })

    const written = `${line(1)}${line(2).slice(0, 50)}\n${line(3)}`

    it('begins the next one on a line of its own', async () => {
      writer.write(line(3))
      await expect.poll(() => readFileSync(path, 'utf8')).toBe(written)
      writer.write(line(4))
      await expect.poll(() => readFileSync(path, 'utf8')).toBe(written + line(4))
    })

    it('begins the last one on a line of its own at the end of the process', () => {
      writer.write(line(3))
      writer.flushSync()
      expect(readFileSync(path, 'utf8')).toBe(written)
    })
  })

  it('writes one after the other also once it has told of lost lines', async () => {
    const { reading, writing } = pipe('told')
    const writer = new LineWriter({
      fd: writing,
      limit: 100_000,
      onLost: () => {
        for (let n = 2_000; n < 2_800; n++) writer.write(line(n))
      },
    })
    for (let n = 0; n < 1_001; n++) writer.write(line(n))
    let read = ''
    const piece = Buffer.alloc(8192)
    const readOn = () => {
      try {
        read += piece.toString('utf8', 0, readSync(reading, piece))
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN')
      }
      // What is not written after the others comes between them.
      writer.write(line(9_999))
      return read.includes(line(2_799))
    }
    await expect.poll(readOn, { interval: 20, timeout: 20_000 }).toBe(true)
    expect(read.startsWith(lines(0, 1_000))).toBe(true)
    expect(read).toContain(lines(2_000, 2_800))
  })

  /** A process that writes 600 KB to a pipe that nobody reads yet. */
  function writeMuch(end: string) {
    const script = `
      const { LineWriter } = await import(${JSON.stringify(BUILT)})
      process.stdout._handle?.unref()
      const writer = new LineWriter({ fd: 1, limit: 1e6, onLost: () => {} })
      process.once('exit', () => writer.flushSync())
      for (let n = 0; n < 6_000; n++) writer.write(String(n).padStart(99, '.') + '\\n')
      ${end}`
    return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  }

  it('does not keep a process from ending whose output nobody reads', async () => {
    const writing = writeMuch('')
    expect(await once(writing, 'exit')).toEqual([0, null])
  })

  it('writes at the end of the process also what a full pipe has not taken', async () => {
    const writing = writeMuch(`setTimeout(() => {
      process.stderr.write('full')
      process.exit()
    }, 200)`)
    await once(writing.stderr, 'data')
    let read = ''
    for await (const piece of writing.stdout) read += piece
    expect(read === lines(0, 6_000)).toBe(true)
  })
})
