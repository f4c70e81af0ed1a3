import { expect, test, vi } from 'vitest'
import { OutrunError } from '../../src/upstream/errors.js'
import { type Attempt, hedgeDelay, hedged } from '../../src/upstream/hedge.js'

const NEVER_LATE = 60_000

/** An attempt that ends when it is told to. */
function gate(queued = false) {
  let resolve!: (answer: string | undefined) => void
  let reject!: (error: Error) => void
  const promise = new Promise<string | undefined>((good, bad) => {
    resolve = good
    reject = bad
  })
  const seen: { signal?: AbortSignal; begun?: () => void } = {}
  const attempt: Attempt<string> = (signal, begun) => {
    seen.signal = signal
    seen.begun = begun
    if (!queued) begun()
    return promise
  }
  return { attempt, resolve, reject, seen }
}

function race(afterMs: number, { signal, queued }: { signal?: AbortSignal; queued?: boolean } = {}) {
  const [first, second] = [gate(queued), gate()]
  const discard = vi.fn()
  const ask = vi.fn((): Attempt<string> | undefined => undefined).mockReturnValueOnce(second.attempt)
  const answer = hedged({ first: first.attempt, afterMs, next: ask, discard, signal })
  return { first, second, ask, discard, answer }
}

test.each([
  [undefined, 1000],
  [0, 250],
  [80, 250],
  [100, 300],
  [2000, 6000],
])('who usually takes %s ms is late after %i ms', (usualMs, delay) => {
  expect(hedgeDelay(usualMs)).toBe(delay)
})

test('nobody else is asked when the first answers in time, nor when it fails in time', async () => {
  for (const outcome of ['yes', undefined]) {
    const { first, ask, answer } = race(NEVER_LATE)
    first.resolve(outcome)

    expect(await answer).toBe(outcome)
    expect(ask).not.toHaveBeenCalled()
  }
})

test('a process that stood still does not take the first for late', async () => {
  const { first, ask, answer } = race(250)
  await new Promise(setImmediate)
  const until = performance.now() + 300
  while (performance.now() < until);
  setTimeout(first.resolve, 5, 'first')

  expect(await answer).toBe('first')
  expect(ask).not.toHaveBeenCalled()
})

test('one that waits for its turn is not late, however long; one that was sent can be', async () => {
  const { first, second, ask, answer } = race(0, { queued: true })
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(ask).not.toHaveBeenCalled()

  first.seen.begun?.()

  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()
  second.resolve('second')
  expect(await answer).toBe('second')
})

test('when the first is late the second is asked, and the quicker one wins', async () => {
  const { first, second, ask, discard, answer } = race(0)
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()

  second.resolve('second')

  expect(await answer).toBe('second')
  expect(ask).toHaveBeenCalledOnce()
  expect(first.seen.signal?.reason).toBeInstanceOf(OutrunError)
  expect(second.seen.signal?.aborted).toBe(false)
  expect(discard).not.toHaveBeenCalled()
})

test('a late first one that is quicker after all wins, and the second is given up', async () => {
  const { first, second, answer } = race(0)
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()

  first.resolve('first')

  expect(await answer).toBe('first')
  expect(second.seen.signal?.reason).toBeInstanceOf(OutrunError)
  expect(first.seen.signal?.aborted).toBe(false)
})

test('a good answer that comes second is let go of', async () => {
  const { first, second, discard, answer } = race(0)
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()
  second.resolve('second')
  await answer

  first.resolve('first')

  await expect.poll(() => discard.mock.calls, { interval: 1 }).toEqual([['first']])
})

test.each(['first', 'second'] as const)('when the %s fails the other is waited for', async (failing) => {
  const { answer, ...attempts } = race(0)
  await expect.poll(() => attempts.second.seen.signal, { interval: 1 }).toBeDefined()
  attempts[failing].resolve(undefined)
  await new Promise(setImmediate)

  attempts[failing === 'first' ? 'second' : 'first'].resolve('the other')

  expect(await answer).toBe('the other')
})

test('when both fail there is no answer', async () => {
  const { first, second, answer } = race(0)
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()
  second.resolve(undefined)
  first.resolve(undefined)

  expect(await answer).toBeUndefined()
})

test('what is thrown ends it at once, and the other is given up', async () => {
  const { first, second, answer } = race(0)
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()

  second.reject(new Error('the last word'))

  await expect(answer).rejects.toThrow('the last word')
  expect(first.seen.signal?.reason).toBeInstanceOf(OutrunError)
})

test('when those beside it are late as well, or fail, the next is asked, without waiting for the end of any', async () => {
  const [first, late, failing, good] = [gate(), gate(), gate(), gate()]
  failing.resolve(undefined)
  good.resolve('good')
  const waiting = [late, failing, good]
  const answer = hedged({ first: first.attempt, afterMs: 0, next: () => waiting.shift()?.attempt, signal: undefined })

  expect(await answer).toBe('good')
  expect([first, late].map(({ seen }) => seen.signal?.reason)).toEqual([
    expect.any(OutrunError),
    expect.any(OutrunError),
  ])
})

test('where there is nobody else the first is waited for', async () => {
  const { first, ask, answer } = race(0)
  ask.mockReset()
  await expect.poll(() => ask.mock.calls.length, { interval: 1 }).toBe(1)

  first.resolve('first')

  expect(await answer).toBe('first')
})

test('the caller’s signal reaches both', async () => {
  const leaving = new AbortController()
  const { first, second } = race(0, { signal: leaving.signal })
  await expect.poll(() => second.seen.signal, { interval: 1 }).toBeDefined()

  leaving.abort(new Error('left'))

  expect([first, second].map(({ seen }) => seen.signal?.reason.message)).toEqual(['left', 'left'])
})
