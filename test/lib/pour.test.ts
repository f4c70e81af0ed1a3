import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { pour } from '../../src/lib/pour.js'

const toError = (cause: unknown) => new Error('broken off', { cause })
const { signal } = new AbortController()

test('chunks come in their order, and it resolves after the last one', async () => {
  const seen: string[] = []
  const take = (chunk: Buffer) => void seen.push(chunk.toString())

  await pour(Readable.from(['one', 'two', 'three'].map((text) => Buffer.from(text))), take, { toError, signal })

  expect(seen).toEqual(['one', 'two', 'three'])
})

test('the next chunk waits for what was returned for the last one', async () => {
  const body = new PassThrough()
  const seen: string[] = []
  let goOn = () => {}
  const poured = pour(
    body,
    (chunk) => {
      seen.push(chunk.toString())
      return chunk.toString() === 'two' ? new Promise((resolve) => (goOn = resolve)) : undefined
    },
    { toError, signal },
  )

  for (const text of ['one', 'two', 'three']) {
    body.write(text)
    await new Promise(setImmediate)
  }
  expect(seen).toEqual(['one', 'two'])
  goOn()
  body.end()
  await poured

  expect(seen).toEqual(['one', 'two', 'three'])
})

test.each(['before', 'while'])('a stream that is cut %s it is read is told in the words given', async (when) => {
  const body = new PassThrough()
  const closed = once(body, 'close')
  if (when === 'before') {
    body.destroy()
    await closed
  }
  const poured = pour(body, () => undefined, { toError, signal })
  if (when === 'while') body.destroy()

  await expect(poured).rejects.toMatchObject({
    message: 'broken off',
    cause: { code: 'ERR_STREAM_PREMATURE_CLOSE' },
  })
})

test('a stream that has ended without a chunk is over at once', async () => {
  const body = new PassThrough()
  body.end()
  body.resume()
  await once(body, 'end')

  await expect(pour(body, () => expect.unreachable(), { toError, signal })).resolves.toBeUndefined()
})

test.each([
  ['what the taker throws', () => Promise.resolve(), true],
  ['what the taker was waiting for', () => Promise.reject(new Error('no')), false],
])('%s ends it, and the rest of the stream is left to be read', async (_what, wait, throws) => {
  const body = new PassThrough()
  body.write('one')
  const take = () => {
    if (throws) throw new Error('no')
    return wait()
  }

  await expect(pour(body, take, { toError, signal })).rejects.toThrow('no')

  expect([body.destroyed, body.isPaused(), body.listenerCount('data')]).toEqual([false, true, 0])
  body.end('two')
  expect(await body.toArray()).toEqual([Buffer.from('two')])
})

test('it is given up at once when it is told so, though nothing comes', async () => {
  const controller = new AbortController()
  const body = new PassThrough()
  const poured = pour(body, () => undefined, { toError, signal: controller.signal })

  controller.abort(new Error('the disk is gone'))

  await expect(poured).rejects.toThrow('the disk is gone')
  expect(body.listenerCount('data')).toBe(0)
  await expect(pour(body, () => undefined, { toError, signal: controller.signal })).rejects.toThrow('the disk')
})
