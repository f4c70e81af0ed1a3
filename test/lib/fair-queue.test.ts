import { expect, test } from 'vitest'
import { FairQueue } from '../../src/lib/fair-queue.js'

/** Enters and notes that it did, by name. */
function visitors(queue: FairQueue) {
  const inside: string[] = []
  const leave: Record<string, () => void> = {}
  const come = (name: string, signal?: AbortSignal) =>
    queue.enter(signal).then((release) => {
      inside.push(name)
      leave[name] = release
    })
  return { inside, leave, come }
}

const settle = () => new Promise(setImmediate)

test('lets as many in as its limit says, and the others in the order in which they came', async () => {
  const queue = new FairQueue(2)
  const { inside, leave, come } = visitors(queue)
  for (const name of ['a', 'b', 'c', 'd']) void come(name)
  await settle()
  expect([inside, queue.inside, queue.waiting]).toEqual([['a', 'b'], 2, 2])

  leave.b?.()
  await settle()
  expect(inside).toEqual(['a', 'b', 'c'])
  leave.a?.()
  await settle()

  expect(inside).toEqual(['a', 'b', 'c', 'd'])
  expect([queue.inside, queue.waiting]).toEqual([2, 0])
})

test('gives a place to who waits, not to who comes at the moment when it becomes free', async () => {
  const queue = new FairQueue(1)
  const { inside, leave, come } = visitors(queue)
  await come('a')
  void come('waiting')

  leave.a?.()
  void come('late')
  await settle()

  expect(inside).toEqual(['a', 'waiting'])
})

test('who no longer wants to leaves the queue at once, and costs those behind nothing', async () => {
  const queue = new FairQueue(1)
  const { inside, leave, come } = visitors(queue)
  const leaving = new AbortController()
  await come('a')
  const gone = come('gone', leaving.signal)
  void come('b')

  leaving.abort(new Error('left'))

  await expect(gone).rejects.toThrow('left')
  expect(queue.waiting).toBe(1)
  leave.a?.()
  await settle()
  expect(inside).toEqual(['a', 'b'])
})

test('a signal that aborted before takes no place, and one that aborts inside gives none back', async () => {
  const queue = new FairQueue(1)
  await expect(queue.enter(AbortSignal.abort(new Error('left')))).rejects.toThrow('left')
  const leaving = new AbortController()
  await queue.enter(leaving.signal)

  leaving.abort()

  expect(queue.inside).toBe(1)
})

test('a place that is given back twice is free once', async () => {
  const queue = new FairQueue(2)
  const [release] = [await queue.enter(), await queue.enter()]

  release()
  release()

  expect(queue.inside).toBe(1)
})
