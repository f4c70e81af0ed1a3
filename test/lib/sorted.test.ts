import fc from 'fast-check'
import { expect, test } from 'vitest'
import { byCodeUnits, firstAfter, insert } from '../../src/lib/sorted.js'

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

test('the first after an item is found, whether the item is there or not', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer()), fc.integer(), (numbers, number) => {
      const items = numbers.sort((a, b) => a - b)
      const expected = items.findIndex((item) => item > number)
      expect(firstAfter(items, number, (a, b) => a - b)).toBe(expected < 0 ? items.length : expected)
    }),
  )
})
