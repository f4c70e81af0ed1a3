import { expect, test } from 'vitest'
import { steady } from '../../src/lib/steady-clock.js'

test('a steady clock goes on where it was when the one behind it is set back, and follows it ahead', () => {
  let time = 1000
  const now = steady(() => time)
  const told = [1000, 1500, 300, 400, 200, 1200, 5000].map((at) => {
    time = at
    return now()
  })

  expect(told).toEqual([1000, 1500, 1500, 1600, 1600, 2600, 6400])
})
