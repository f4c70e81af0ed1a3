import { expect, test } from 'vitest'
import { SingleFlight } from '../../src/lib/single-flight.js'

test('those who come while it runs share one piece of work, and the next one starts anew', async () => {
  const flights = new SingleFlight<number>()
  let runs = 0
  let finish: (value: number) => void = () => undefined
  const work = () => {
    runs++
    return new Promise<number>((resolve) => {
      finish = resolve
    })
  }

  const joined = Promise.all([flights.run('a', work), flights.run('a', work), flights.run('a', work)])
  finish(7)
  expect(await joined).toEqual([7, 7, 7])
  const next = flights.run('a', work)
  finish(8)

  expect([await next, runs]).toEqual([8, 2])
})

test('all who wait get a failure, and it is not kept', async () => {
  const flights = new SingleFlight<number>()
  const failing = async () => {
    throw new Error('no')
  }

  const outcomes = await Promise.allSettled([flights.run('a', failing), flights.run('a', failing)])

  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await flights.run('a', async () => 1)).toBe(1)
})

test('other keys are other work', async () => {
  const flights = new SingleFlight<string>()

  expect(await Promise.all(['a', 'b'].map((key) => flights.run(key, async () => key)))).toEqual(['a', 'b'])
})
