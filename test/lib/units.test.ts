import { describe, expect, test } from 'vitest'
import { parseBytes, parseDuration, parsePercent, printBytes, printDuration, UnitError } from '../../src/lib/units.js'

describe('parseBytes', () => {
  test.each([
    ['0B', 0],
    ['512B', 512],
    ['1KB', 1000],
    ['2 MB', 2_000_000],
    ['3GB', 3_000_000_000],
    ['1TB', 1_000_000_000_000],
    ['1KiB', 1024],
    ['64MiB', 67_108_864],
    ['50 GiB', 53_687_091_200],
    ['1TiB', 1_099_511_627_776],
    ['1.5KiB', 1536],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  test.each([
    ['', '"" is not a size: write a number and one of B, KB,'],
    ['lots', '"lots" is not a size'],
    ['5', '"5" needs a unit'],
    ['-1GiB', '"-1GiB" is negative'],
    ['10 parsecs', '"10 parsecs" has an unknown unit: it is one of B, KB,'],
    ['50gib', '"50gib" has an unknown unit: did you mean 50GiB?'],
    ['1e3B', '"1e3B" is not a size'],
    ['1  GiB', '"1  GiB" is not a size'],
    ['99999999TiB', '"99999999TiB" is too large'],
  ])('"%s" is a UnitError: %s', (text, message) => {
    expect(() => parseBytes(text)).toThrow(UnitError)
    expect(() => parseBytes(text)).toThrow(message)
  })
})

describe('parseDuration', () => {
  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['30 d', 2_592_000_000],
  ])('%s is %i ms', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds)
  })

  test.each([
    ['5', '"5" needs a unit: one of ms, s, m, h, d, as in 30s'],
    ['-1s', '"-1s" is negative'],
    ['10 parsecs', '"10 parsecs" has an unknown unit'],
    ['5M', '"5M" has an unknown unit: did you mean 5m?'],
    ['5m30s', '"5m30s" is not a duration'],
    ['Infinity s', '"Infinity s" is not a duration'],
  ])('"%s" is a UnitError: %s', (text, message) => {
    expect(() => parseDuration(text)).toThrow(UnitError)
    expect(() => parseDuration(text)).toThrow(message)
  })
})

describe('parsePercent', () => {
  test.each([
    ['90%', 0.9],
    ['100 %', 1],
    ['0.5%', 0.005],
  ])('%s is %f', (text, share) => {
    expect(parsePercent(text)).toBeCloseTo(share, 10)
  })

  test.each([
    ['0.9', '"0.9" is not a percentage'],
    ['0%', '"0%" is out of range'],
    ['100.1%', '"100.1%" is out of range: above 0% and at most 100%'],
    ['-5%', '"-5%" is out of range'],
  ])('"%s" is a UnitError: %s', (text, message) => {
    expect(() => parsePercent(text)).toThrow(UnitError)
    expect(() => parsePercent(text)).toThrow(message)
  })
})

test.each([
  [0, '0 B'],
  [1023, '1 KiB'],
  [900, '900 B'],
  [1536, '1.5 KiB'],
  [67_108_864, '64 MiB'],
  [53_687_091_200, '50 GiB'],
  [1_048_575, '1 MiB'],
])('%i bytes are printed as %s', (bytes, text) => {
  expect(printBytes(bytes)).toBe(text)
})

test.each([
  [0, '0 ms'],
  [250, '250 ms'],
  [1500, '1.5 s'],
  [300_000, '5 m'],
  [86_400_000, '1 d'],
])('%i ms are printed as %s', (milliseconds, text) => {
  expect(printDuration(milliseconds)).toBe(text)
})
