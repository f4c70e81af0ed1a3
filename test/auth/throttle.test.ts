import { beforeEach, describe, expect, test } from 'vitest'
import { Throttle } from '../../src/auth/throttle.js'

describe('failures of an address', () => {
  let time: number
  let throttle: Throttle
  beforeEach(() => {
    time = 1_000_000
    throttle = new Throttle({ allowance: 10, refillMs: 6_000, now: () => time })
  })
  const fail = (address: string, times: number) => {
    for (let i = 0; i < times; i++) throttle.spend(address)
  }

  test('ten may come at once, and then one after each 6 s', () => {
    fail('a', 9)
    expect(throttle.waitMs('a')).toBe(0)
    fail('a', 1)
    expect(throttle.waitMs('a')).toBe(6_000)
    time += 5_999
    expect(throttle.waitMs('a')).toBe(1)
    time += 1
    expect(throttle.waitMs('a')).toBe(0)
    fail('a', 1)
    expect(throttle.waitMs('a')).toBe(6_000)
  })

  test('are nothing to another address', () => {
    fail('a', 50)

    expect(throttle.waitMs('b')).toBe(0)
  })

  test('are forgotten after a while, and never more than that', () => {
    fail('a', 10)
    time += 3_600_000
    fail('a', 10)

    expect(throttle.waitMs('a')).toBe(6_000)
  })

  test('a clock that is set back makes no wait longer', () => {
    fail('a', 10)
    time -= 3_600_000

    expect(throttle.waitMs('a')).toBe(6_000)
  })

  test('of many addresses the latest are remembered', () => {
    fail('first', 10)
    for (let i = 0; i < 10_000; i++) throttle.spend(`other ${i}`)
    fail('last', 10)

    expect([throttle.waitMs('first'), throttle.waitMs('last')]).toEqual([0, 6_000])
  })
})
