import { expect, test } from 'vitest'
import type { Address } from '../../src/upstream/dial.js'
import { NameLookup } from '../../src/upstream/name-lookup.js'

const ADDRESS: Address = { address: '192.0.2.1', family: 4 }

test('a name that is being looked up is not looked up again', async () => {
  const asked: string[] = []
  let answer = (_addresses: Address[]) => {}
  const names = new NameLookup({
    system: (hostname) => {
      asked.push(hostname)
      return new Promise((resolve) => {
        answer = resolve
      })
    },
  })

  const both = [names.find('registry.test', 0), names.find('registry.test', 0)]
  answer([ADDRESS])

  expect(await Promise.all(both)).toEqual([[ADDRESS], [ADDRESS]])
  expect(asked).toEqual(['registry.test'])
})

test('what the system says counts, a failure too, and the next look-up asks it again', async () => {
  let times = 0
  const names = new NameLookup({
    system: async (_hostname, { family }) => {
      if (times++ === 0) throw new Error('ENOTFOUND')
      return [{ ...ADDRESS, family }]
    },
  })

  await expect(names.find('registry.test', 4)).rejects.toThrow('ENOTFOUND')
  expect(await names.find('registry.test', 4)).toEqual([ADDRESS])
})
