import fc from 'fast-check'
import { expect, test } from 'vitest'
import { byCodeUnits, firstAfter, insert, remove } from '../../src/lib/sorted.js'

test('what is inserted one by one is the sorted set', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 3 })), (texts) => {
      const items: string[] = []
      const news = texts.map((text) => insert(items, text, byCodeUnits))
      expect(items).toEqual([...new Set(texts)].sort())
      expect(news.filter(Boolean)).toHaveLength(items.length)
    }),
  )
})

test('what is removed is no longer there, and nothing else goes', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(20)), fc.nat(20), (numbers, number) => {
      const order = (a: number, b: number) => a - b
      const items = numbers.sort(order)
      const left = items.filter((item) => item !== number)
      const wasThere = items.length > left.length
      expect([remove(items, number, order), items]).toEqual([wasThere, left])
    }),
  )
})

test('the first after an item is found, whether the item is there or not', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer()), fc.integer(), (numbers, number) => {
      const items = numbers.sort((a, b) => a - b)
      const expected = items.findIndex((item) => item > number)
      expect(firstAfter(items, number, (a, b) => a - b)).toBe(expected < 0 ? items.length : expected)
    }),
  )
})
