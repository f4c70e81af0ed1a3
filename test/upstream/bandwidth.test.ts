import { expect, test } from 'vitest'
import { Bandwidth } from '../../src/upstream/bandwidth.js'

function capped(bytesPerSecond: number) {
  const clock = { now: 1000, waits: [] as number[] }
  const wait = async (ms: number) => void clock.waits.push(ms)
  return { clock, bandwidth: new Bandwidth({ bytesPerSecond, now: () => clock.now, wait }) }
}

test('all who pay at a time wait one behind the other', async () => {
  const { clock, bandwidth } = capped(1000)

  await Promise.all([500, 500, 1000].map((bytes) => bandwidth.pay(bytes, undefined)))

  // the first tenth of a second's worth is free
  expect(clock.waits).toEqual([400, 900, 1900])
})

test('a pause saves up no more than a tenth of a second', async () => {
  const { clock, bandwidth } = capped(1000)
  await bandwidth.pay(100, undefined)
  clock.now += 60_000

  await bandwidth.pay(1000, undefined)

  expect(clock.waits).toEqual([900])
})

test('what is within the cap does not wait', async () => {
  const { clock, bandwidth } = capped(1000)

  for (let second = 0; second < 20; second++) {
    await bandwidth.pay(50, undefined)
    clock.now += 50
  }

  expect(clock.waits).toEqual([])
})
