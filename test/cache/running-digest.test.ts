import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { RunningDigest } from '../../src/cache/running-digest.js'
import { RangeSet } from '../../src/lib/range-set.js'
import { digestOf } from '../../src/oci/digest.js'

const SIZE = 3_000_000

/** Bytes at their place, as far as they are here; each read waits where a test says so. */
class Held {
  readonly here = new RangeSet()
  gate: Promise<void> | undefined
  reads = 0

  constructor(readonly content: Buffer) {}

  readableTo(position: number): number {
    return this.here.endAt(position)
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    this.reads++
    await this.gate
    return this.content.copy(buffer, 0, position, Math.min(this.here.endAt(position), position + buffer.length))
  }
}

describe('RunningDigest', () => {
  test('takes chunks in their turn without reading them again', async () => {
    const held = new Held(randomBytes(SIZE))
    const digest = new RunningDigest(digestOf(held.content))
    for (let at = 0; at < SIZE; at += 100_000) {
      digest.offer(at, held.content.subarray(at, at + 100_000))
      held.here.add(at, at + 100_000)
      await digest.follow(held)
    }

    expect(digest.matches()).toBe(true)
    expect(held.reads).toBe(0)
  })

  test('reads what came before its turn once the gap before it is closed', async () => {
    const held = new Held(randomBytes(SIZE))
    const digest = new RunningDigest(digestOf(held.content))
    digest.offer(1_000_000, held.content.subarray(1_000_000))
    held.here.add(1_000_000, SIZE)
    await digest.follow(held)
    expect(digest.bytes).toBe(0)

    digest.offer(0, held.content.subarray(0, 1_000_000))
    held.here.add(0, 1_000_000)
    await digest.follow(held)

    expect(digest.bytes).toBe(SIZE)
    expect(digest.matches()).toBe(true)
  })

  test('does not take twice what is offered while it reads that', async () => {
    const held = new Held(randomBytes(SIZE))
    const digest = new RunningDigest(digestOf(held.content))
    let open = () => {}
    held.gate = new Promise((resolve) => {
      open = resolve
    })
    held.here.add(0, 1_000_000)
    const following = digest.follow(held)
    digest.offer(0, held.content.subarray(0, 1_000_000))
    digest.offer(1_000_000, held.content.subarray(1_000_000))
    held.here.add(1_000_000, SIZE)
    open()
    await following

    expect(digest.matches()).toBe(true)
  })

  test('begun again while it reads what is then thrown away, it knows nothing of that', async () => {
    const held = new Held(randomBytes(SIZE))
    const digest = new RunningDigest(digestOf(held.content))
    let open = () => {}
    held.gate = new Promise((resolve) => {
      open = resolve
    })
    held.here.add(0, SIZE)
    const following = digest.follow(held)
    held.here.clear()
    const reset = digest.reset()
    open()

    await expect(following).rejects.toThrow('shorter')
    await reset
    digest.offer(0, held.content)
    expect(digest.matches()).toBe(true)
  })
})
