import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { LineWriter } from '../../src/lib/line-writer.js'

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
})
