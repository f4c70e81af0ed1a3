import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { abortable, delay } from '../../src/lib/abortable.js'

const never = new Promise<never>(() => undefined)

test('a result comes through, and nothing stays on the signal', async () => {
  const { signal } = new AbortController()

  expect(await abortable(Promise.resolve(1), signal)).toBe(1)
  await expect.poll(() => getEventListeners(signal, 'abort')).toEqual([])
})

test('whoever aborts stops waiting, before or after', async () => {
  const leaving = new AbortController()
  const waiting = [abortable(never, leaving.signal), delay(60_000, leaving.signal)]

  leaving.abort(new Error('left'))

  for (const one of [...waiting, abortable(never, leaving.signal)]) await expect(one).rejects.toThrow('left')
})
