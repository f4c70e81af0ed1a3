import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Pace, StoppedError } from '../../src/gc/pace.js'

test('a few pieces of work are under way at a time, and their results are in the order of the items', async () => {
  let [underWay, most] = [0, 0]

  const results = await new Pace().each(
    Array.from({ length: 100 }, (_, at) => at),
    async (item) => {
      most = Math.max(most, ++underWay)
      for (let turns = item % 5; turns >= 0; turns--) await turn()
      underWay--
      return item * 2
    },
  )

  expect(results).toEqual(Array.from({ length: 100 }, (_, at) => at * 2))
  expect(most).toBe(8)
})

test('after a failure nothing more is begun, and what is under way has ended when it is told', async () => {
  const [begun, ended]: [number[], number[]] = [[], []]
  const working = new Pace().each([...Array(50).keys()], async (item) => {
    begun.push(item)
    if (item === 3) throw new Error('the disk')
    for (let turns = 0; turns < 10; turns++) await turn()
    ended.push(item)
  })

  await expect(working).rejects.toThrow('the disk')

  expect(begun).toHaveLength(8)
  expect(ended.sort()).toEqual([0, 1, 2, 4, 5, 6, 7])
})

test('a stop ends it', async () => {
  const pace = new Pace()
  let done = 0
  const working = pace.each([...Array(50).keys()], async (item) => {
    if (item === 10) pace.stop()
    await turn()
    done++
  })

  await expect(working).rejects.toThrow(StoppedError)

  expect(done).toBeLessThan(20)
})
