import { describe, expect, test } from 'vitest'
import { parseChunkRange, parseContentRange, parseRange } from '../../src/oci/range.js'

describe('parseRange of 1000 bytes', () => {
  test.each([
    ['bytes=0-0', [[0, 0]]],
    ['bytes=0-499', [[0, 499]]],
    ['bytes=500-999', [[500, 999]]],
    ['bytes=500-', [[500, 999]]],
    ['bytes=500-5000', [[500, 999]]],
    ['bytes=-1', [[999, 999]]],
    ['bytes=-5000', [[0, 999]]],
    ['Bytes=0-0', [[0, 0]]],
    [' bytes=0-0 ', [[0, 0]]],
    [
      'bytes=0-0, 10-19 ,-2',
      [
        [0, 0],
        [10, 19],
        [998, 999],
      ],
    ],
    [
      'bytes=10-19,0-9',
      [
        [10, 19],
        [0, 9],
      ],
    ],
    ['bytes=0-0,5000-', [[0, 0]]],
    [`bytes=0-${'9'.repeat(400)}`, [[0, 999]]],
  ])('%s', (header, ranges) => {
    expect(parseRange(header, 1000)).toEqual(ranges.map(([start, end]) => ({ start, end })))
  })

  test.each([
    'bytes=1000-',
    'bytes=1000-1001',
    'bytes=-0',
    'bytes=1000-,2000-',
    'bytes=5-4',
    'bytes=0-1,5-4',
    `bytes=${'9'.repeat(400)}-`,
  ])('%s cannot be satisfied', (header) => {
    expect(parseRange(header, 1000)).toBe('unsatisfiable')
  })

  test.each([
    undefined,
    '',
    'bytes',
    'bytes=',
    'bytes=-',
    'bytes=a-b',
    'bytes=1',
    'bytes=0-1,',
    'bytes=0x1-2',
    'bytes=1.5-2',
    'bytes=--1',
    'items=0-1',
    'bytes 0-1',
  ])('%s is ignored', (header) => {
    expect(parseRange(header, 1000)).toBeUndefined()
  })

  test('64 ranges are taken, 65 ignored', () => {
    const header = (count: number) => `bytes=${Array.from({ length: count }, (_, at) => `${at}-${at}`).join(',')}`

    expect(parseRange(header(64), 1000)).toHaveLength(64)
    expect(parseRange(header(65), 1000)).toBeUndefined()
  })

  test('overlapping ranges that come to more than the whole are ignored', () => {
    expect(parseRange('bytes=0-499,250-749', 1000)).toHaveLength(2)
    expect(parseRange('bytes=0-,0-', 1000)).toBeUndefined()
  })

  test('of nothing, nothing can be had', () => {
    expect(['bytes=0-', 'bytes=0-0', 'bytes=-1'].map((header) => parseRange(header, 0))).toEqual(
      Array(3).fill('unsatisfiable'),
    )
  })
})

describe('parseContentRange', () => {
  test.each([
    ['bytes 0-99/1000', { start: 0, end: 99, total: 1000 }],
    ['bytes 999-999/1000', { start: 999, end: 999, total: 1000 }],
    ['bytes 0-99/*', { start: 0, end: 99, total: undefined }],
    [' Bytes 0-99/1000 ', { start: 0, end: 99, total: 1000 }],
  ])('%s', (header, range) => {
    expect(parseContentRange(header)).toEqual(range)
  })

  test.each([
    undefined,
    '',
    'bytes */1000',
    'bytes 0-99',
    'bytes=0-99/1000',
    'bytes 99-0/1000',
    'bytes 0-1000/1000',
    'bytes a-b/c',
    'items 0-99/1000',
  ])('%s says nothing', (header) => {
    expect(parseContentRange(header)).toBeUndefined()
  })
})

describe('parseChunkRange', () => {
  test.each(['0-99', 'bytes 0-99', 'bytes=0-99', ' 0-99 '])('%s', (header) => {
    expect(parseChunkRange(header)).toEqual({ start: 0, end: 99 })
  })

  test.each(['', '0-', '-99', '99-0', '0-99/100', 'a-b', '0 - 99'])('%s is none', (header) => {
    expect(parseChunkRange(header)).toBeUndefined()
  })
})
