import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Beside, BlobBytes, BlobSource } from '../../src/cache/blob-source.js'
import { Contributions } from '../../src/cache/contributions.js'
import { Download } from '../../src/cache/download.js'
import { RunningDigest } from '../../src/cache/running-digest.js'
import { Spool } from '../../src/cache/spool.js'
import { parseDigest } from '../../src/oci/digest.js'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const SEGMENT = 64 * MIB
/** About a gigabit a second, bytes a millisecond. */
const GIGABIT = 100 * KIB
/** Further than what one look is from the next. */
const LATER_MS = 50

/** Two upstreams of one blob: `a` gives what the test says and no more, `b` is asked beside it and never answers. */
class OneByOne implements BlobSource {
  readonly sizeBytes = GIB
  /** Bytes of `a` that the test gives. */
  give: (bytes: number) => void = () => {}
  usual = Number.NaN
  readonly asked: { from: number; to: number | undefined }[] = []
  readonly beside: BlobSource['beside'] = ({ signal, from, to }: Beside) => {
    this.askedBeside.push({ from, to })
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  readonly askedBeside: { from: number; to: number }[] = []

  async next(from: number, to: number | undefined): Promise<BlobBytes> {
    this.asked.push({ from, to })
    let end = () => {}
    const ended = new Promise<undefined>((resolve) => {
      end = () => resolve(undefined)
    })
    const given: Promise<number | undefined>[] = []
    let next = () => {}
    this.give = (bytes) => {
      given.push(Promise.resolve(bytes))
      next()
    }
    async function* body() {
      for (;;) {
        const more = new Promise<void>((resolve) => {
          next = resolve
        })
        if (given.length === 0) await Promise.race([more, ended])
        const bytes = await given.shift()
        if (bytes === undefined) throw new Error('the stream was closed')
        yield Buffer.alloc(bytes)
      }
    }
    return { body: body(), size: GIB, upstream: 'a', toEnd: to === undefined, destroy: end, failed: end }
  }

  usualMs(bytes: number): number {
    return bytes / this.usual
  }

  spare(): string | undefined {
    return this.askedBeside.length === 0 ? 'b' : undefined
  }

  outpaced(): void {}
  lied(): void {}
  doubt(): void {}
  close(): void {}
}

describe('a large download', () => {
  let folder: string
  let spool: Spool
  let source: OneByOne
  let download: Download
  let running: Promise<unknown>
  let now: number
  let load: number
  let ending: AbortController

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sharing-'))
    spool = await Spool.open(join(folder, 'part'))
    source = new OneByOne()
    now = 1000
    load = 0
    ending = new AbortController()
  })
  afterEach(async () => {
    ending.abort(new Error('the test is over'))
    download.destroy()
    await running
    await spool.close()
    await rm(folder, { recursive: true })
  })

  /** Begins, and resolves when it has asked for its first stream. */
  async function start(): Promise<void> {
    download = new Download({
      source,
      spool,
      hash: new RunningDigest(parseDigest(`sha256:${'0'.repeat(64)}`)),
      contributions: new Contributions(),
      segments: { size: SEGMENT, minBlob: SEGMENT },
      signal: ending.signal,
      positions: () => [],
      begun: async ({ size }) => {
        download.size = size!
        return true
      },
      arrived: async () => {},
      now: () => now,
      load: () => load,
    })
    running = download.run(0).catch((error: unknown) => error)
    await expect.poll(() => source.asked.length).toBe(1)
  }

  /** So much of it has come after so long, and it is looked whether another stream pays. */
  async function get(bytes: number, afterMs: number): Promise<void> {
    source.give(bytes)
    await expect.poll(() => spool.held.size).toBe(bytes)
    now += afterMs
    download.look()
  }

  test('that would take long is shared out', async () => {
    await start()
    await get(64 * KIB, LATER_MS)

    expect(source.askedBeside).toEqual([{ from: SEGMENT, to: 2 * SEGMENT }])
  })

  test('is not shared out while this process is what is busy, and is when it no longer is', async () => {
    await start()
    load = 0.9
    await get(64 * KIB, LATER_MS)
    expect(source.askedBeside).toEqual([])

    load = 0.8
    now += LATER_MS
    download.look()
    expect(source.askedBeside).toHaveLength(1)
  })

  test('is not shared out while one stream brings a gigabit a second, and is when that falls below', async () => {
    await start()
    await get(GIGABIT * LATER_MS, LATER_MS)
    expect(source.askedBeside).toEqual([])

    now += LATER_MS
    download.look()
    expect(source.askedBeside).toHaveLength(1)
  })

  test.each([
    { what: 'a gigabit a second', usual: GIGABIT, to: undefined },
    { what: 'less than a gigabit a second', usual: GIGABIT - 1, to: SEGMENT },
    { what: 'nobody knows how much', usual: Number.NaN, to: SEGMENT },
  ])('from an upstream that mostly brings $what begins with a stream up to $to', async ({ usual, to }) => {
    source.usual = usual

    await start()

    expect(source.asked).toEqual([{ from: 0, to }])
  })
})
