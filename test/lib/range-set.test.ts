import { describe, expect, test } from 'vitest'
import { RangeSet } from '../../src/lib/range-set.js'
import { seeded } from '../helpers/seeded.js'

describe('RangeSet', () => {
  test('spans that touch or overlap become one', () => {
    const set = new RangeSet()
    set.add(10, 20)
    set.add(30, 40)
    set.add(20, 25)
    set.add(24, 31)
    set.add(50, 50)

    expect(set.spans).toEqual([{ from: 10, to: 40 }])
    expect(set.size).toBe(30)
  })

  test('tells how far it reaches from a position, and where it goes on', () => {
    const set = new RangeSet([
      { from: 10, to: 20 },
      { from: 30, to: 40 },
    ])

    expect([set.endAt(9), set.endAt(10), set.endAt(19), set.endAt(20)]).toEqual([9, 20, 20, 20])
    expect([set.nextAfter(0), set.nextAfter(10), set.nextAfter(25)]).toEqual([10, 30, 30])
    expect(set.nextAfter(30)).toBe(Number.POSITIVE_INFINITY)
  })

  test('can be cut off in the middle of a span', () => {
    const set = new RangeSet([
      { from: 0, to: 20 },
      { from: 30, to: 40 },
    ])
    set.cutAt(15)

    expect(set.spans).toEqual([{ from: 0, to: 15 }])
    expect(set.size).toBe(15)
  })

  test('agrees with a plain set of numbers, whatever is added in whatever order', () => {
    const random = seeded(7)
    for (let round = 0; round < 50; round++) {
      const set = new RangeSet()
      const plain = new Set<number>()
      for (let step = 0; step < 30; step++) {
        const from = Math.floor(random() * 200)
        const to = from + Math.floor(random() * 20)
        set.add(from, to)
        for (let each = from; each < to; each++) plain.add(each)
      }
      expect(set.size).toBe(plain.size)
      for (let at = 0; at < 220; at++) {
        let end = at
        while (plain.has(end)) end++
        expect(set.endAt(at)).toBe(end)
      }
    }
  })
})
