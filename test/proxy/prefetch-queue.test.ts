import { pino } from 'pino'
import { beforeEach, expect, test } from 'vitest'
import { PrefetchQueue } from '../../src/proxy/prefetch-queue.js'

let room: boolean
let queue: PrefetchQueue
/** Ends the work of a key. */
let ends: Map<string, { resolve: () => void; reject: (error: Error) => void }>
let begun: string[]
beforeEach(() => {
  room = true
  ends = new Map()
  begun = []
  queue = new PrefetchQueue({ concurrency: () => 2, mayStart: () => room, log: pino({ level: 'silent' }) })
})

function add(...keys: string[]) {
  for (const key of keys)
    queue.add(key, () => {
      begun.push(key)
      return new Promise((resolve, reject) => ends.set(key, { resolve, reject }))
    })
}

/** Ends it, and lets what follows from that happen. */
async function end(key: string, error?: Error) {
  if (error) ends.get(key)!.reject(error)
  else ends.get(key)!.resolve()
  await new Promise(setImmediate)
}

test('work is begun in the order it came, so many pieces at once', async () => {
  add('a', 'b', 'c', 'd')
  const first = [...begun]
  await end('b')

  expect(first).toEqual(['a', 'b'])
  expect(begun).toEqual(['a', 'b', 'c'])
})

test('work that fails makes room as well', async () => {
  add('a', 'b', 'c')

  await end('a', new Error('no upstream has it'))

  expect(begun).toEqual(['a', 'b', 'c'])
})

test('what waits or runs is not taken a second time, and what has ended is', async () => {
  add('a', 'b', 'c', 'a', 'c')
  await end('a')
  await end('b')
  const once = [...begun]
  add('a')

  expect(once).toEqual(['a', 'b', 'c'])
  expect(begun).toEqual(['a', 'b', 'c', 'a'])
})

test('nothing is begun without room, and all of it at the next wake', () => {
  room = false
  add('a', 'b')
  const without = [...begun]
  room = true
  queue.wake()

  expect(without).toEqual([])
  expect(begun).toEqual(['a', 'b'])
})

test('work that ends begins no other when there is no room any more', async () => {
  add('a', 'b', 'c')
  room = false

  await end('a')

  expect(begun).toEqual(['a', 'b'])
})

test('of what waits the oldest is dropped when it is too much', () => {
  room = false
  add(...Array.from({ length: 258 }, (_, at) => `${at}`))
  room = true
  queue.wake()

  expect(begun).toEqual(['2', '3'])
})

test('after the stop nothing is begun and nothing is taken', async () => {
  add('a', 'b', 'c')
  queue.stop()
  await end('a')
  add('d')

  expect(begun).toEqual(['a', 'b'])
})
