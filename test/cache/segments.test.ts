import { beforeEach, describe, expect, test } from 'vitest'
import { type Claim, Segments } from '../../src/cache/segments.js'
import { RangeSet } from '../../src/lib/range-set.js'
import { seeded } from '../helpers/seeded.js'

const MIB = 1024 * 1024
const SIZE = 16 * MIB

describe('Segments', () => {
  let held: RangeSet
  let now: number
  let segments: Segments
  beforeEach(() => {
    held = new RangeSet()
    now = 1000
    segments = new Segments({ held, segmentBytes: MIB, now: () => now })
    segments.size = SIZE
  })

  const span = (claim: Claim | undefined) => claim && [claim.at / MIB, claim.to / MIB]
  const spans = () => [...segments.claims].map(span)

  function get(claim: Claim, bytes: number, ms = 0): void {
    held.add(claim.at, claim.at + bytes)
    now += ms
    segments.arrived(claim, bytes)
    segments.awaited(claim)
  }

  test('gives the lowest segment that is missing and nobody’s', () => {
    held.add(0, 2 * MIB)
    held.add(3 * MIB, 3.5 * MIB)

    expect(span(segments.claimSegment())).toEqual([2, 3])
    expect(span(segments.claimSegment())).toEqual([3.5, 4])
    expect(span(segments.claimSegment())).toEqual([4, 5])
  })

  test('joins what is left of a segment to the next where it is little', () => {
    held.add(0, 0.8 * MIB)

    expect(span(segments.claimSegment())).toEqual([0.8, 2])
  })

  test('begins where it is told to, and goes back to the beginning at the end', () => {
    expect(span(segments.claimFrom(15 * MIB))).toEqual([15, 16])
    expect(span(segments.claimFrom(15 * MIB))).toEqual([0, 1])
    expect(span(segments.claimRest(14 * MIB))).toEqual([14, 15])
    expect(span(segments.claimRest(14 * MIB))).toEqual([1, 14])
    expect(segments.claimRest(0)).toBeUndefined()
  })

  test('a stream that goes on to the end may have what follows it and is nobody’s', () => {
    const first = segments.claimSegment()!
    const later = segments.claimAt(4 * MIB)!
    segments.extend(first)
    segments.extend(later)

    expect([span(first), span(later)]).toEqual([
      [0, 4],
      [4, 16],
    ])
  })

  test('what a stream has beyond its segment is another’s where that one would need long for it', () => {
    const whole = segments.claimRest(0)!
    get(whole, MIB / 10, 1000)

    expect(span(segments.claimSegment())).toEqual([1, 2])
    expect(span(whole)).toEqual([0.1, 1])
  })

  test('a long stream is judged by no less than half a second of it: how it begins says little', () => {
    const whole = segments.claimRest(0)!
    get(whole, MIB / 100, 499)

    expect(segments.claimSegment()).toBeUndefined()
    now += 1
    expect(span(segments.claimSegment())).toEqual([1, 2])
    expect(span(whole)).toEqual([0.01, 1])
  })

  test('a quick stream keeps what it has', () => {
    const whole = segments.claimRest(0)!
    get(whole, 8 * MIB, 1000)

    expect(segments.claimSegment()).toBeUndefined()
    expect(segments.claimHalf()).toBeUndefined()
    expect(span(whole)).toEqual([8, 16])
  })

  test('the one that needs longest is relieved of half', () => {
    const quick = segments.claimRest(8 * MIB)!
    const slow = segments.claimRest(0)!
    get(quick, 4 * MIB)
    get(slow, MIB, 2000)

    expect(segments.claimHalf()).toMatchObject({ of: slow, claim: { at: 4.5 * MIB, to: 8 * MIB } })
    expect(span(slow)).toEqual([1, 4.5])
  })

  test('a reader’s position is taken from the stream that would be there late, up to the end of a segment', () => {
    const whole = segments.claimRest(0)!
    get(whole, MIB, 1000)
    expect(segments.msUntil(5 * MIB, segments.holderOf(5 * MIB)!)).toBe(4000)

    expect(span(segments.claimAt(5.5 * MIB))).toEqual([5.5, 6])
    expect(spans()).toEqual([
      [1, 5.5],
      [5.5, 6],
    ])
    expect(span(segments.claimSegment())).toEqual([6, 7])
  })

  test('a stream is silent after 30 looks without a byte, none of them while its bytes are being put down', () => {
    const claim = segments.claimSegment()!
    const looks = (count: number) => Array.from({ length: count }, () => segments.isSilent(claim)).includes(true)
    expect(looks(30)).toBe(false)
    expect(looks(1)).toBe(true)

    held.add(0, 10)
    segments.arrived(claim, 10)
    expect(looks(1000)).toBe(false)
    segments.awaited(claim)
    expect(looks(30)).toBe(false)
    expect(looks(1)).toBe(true)
    expect(span(segments.claimOf(claim))).toEqual([10 / MIB, 1])
  })

  test('what a stream that has ended did not get is nobody’s', () => {
    const claim = segments.claimSegment()!
    get(claim, MIB / 2)
    segments.release(claim)

    expect(span(segments.claimSegment())).toEqual([0.5, 1])
  })

  test('how long the rest takes is not known before a rate is', () => {
    const claim = segments.claimSegment()!
    segments.begun(claim)
    expect(segments.remainingMs).toBe(0)

    get(claim, MIB, 1000)
    expect(segments.remainingMs).toBe(15_000)
    segments.release(claim)
    expect(segments.remainingMs).toBe(15_000)
  })

  test('the time in which what came is put down does not make an upstream slow', () => {
    const claim = segments.claimSegment()!
    segments.begun(claim)
    now += 100
    held.add(0, MIB)
    segments.arrived(claim, MIB)
    now += 5000
    expect(segments.remainingMs).toBe(1500)
    segments.awaited(claim)
    expect(segments.remainingMs).toBe(1500)

    now += 100
    expect(segments.remainingMs).toBe(3000)
  })

  test('of a blob whose size is not known yet there is no end', () => {
    const open = new Segments({ held, segmentBytes: MIB, now: () => now })
    const claim = open.claimRest(0)!
    expect(claim.to).toBe(Number.POSITIVE_INFINITY)

    open.size = 3 * MIB

    expect(claim.to).toBe(3 * MIB)
  })

  test.each([1, 2, 3, 4, 5, 6])('whatever is asked in whatever order, each byte is claimed once: seed %i', (seed) => {
    const random = seeded(seed)
    const below = (limit: number) => Math.floor(random() * limit)
    const asks = [
      () => segments.claimRest(below(SIZE)),
      () => segments.claimFrom(below(SIZE)),
      () => segments.claimSegment(),
      () => segments.claimAt(below(SIZE)),
      () => segments.claimHalf()?.claim,
      () => {
        const claim = pick()
        return claim && segments.claimOf(claim)
      },
    ]
    const pick = () => [...segments.claims][below(segments.claims.size)]
    let steps = 0
    for (; held.size < SIZE; steps++) {
      if (segments.claims.size < 5) asks[below(asks.length)]!()
      const claim = pick()
      if (claim) {
        const bytes = Math.min(claim.to - claim.at, below(MIB / 2))
        get(claim, bytes, below(200))
        if (random() < 0.1 && claim.at < claim.to) segments.extend(claim)
        if (claim.at >= claim.to || random() < 0.05) segments.release(claim)
      }
      const inOrder = [...segments.claims].filter(({ at, to }) => at < to).sort((a, b) => a.at - b.at)
      for (const [index, { to }] of inOrder.entries()) expect(to).toBeLessThanOrEqual(inOrder[index + 1]?.at ?? SIZE)
      for (const { at, to } of inOrder) {
        expect(held.endAt(at)).toBe(at)
        expect(held.nextAfter(at)).toBeGreaterThanOrEqual(to)
      }
      expect(steps).toBeLessThan(5000)
    }
  })
})
