import { expect, test } from 'vitest'
import { pull } from './client.js'
import { useStage } from './stage.js'
import { blackHole } from './world.js'

const stage = useStage({ name: 'a-unreachable', upstreams: ['a', 'b'] })

/** The cool-down of an upstream that was found out of reach, and a little more. */
const COOL_DOWN_MS = 11_000

test('F1 the first upstream refuses the connection: the second serves at once, and the first again when it is back', async () => {
  const [image, next] = await stage.images(2)
  const mirror = await stage.mirror()
  await stage.proxy('a').setDoor('shut')

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(stage.proxy('a').accepted).toBe(0)
  expect((await mirror.standing('a')).state).toBe('open')

  await stage.proxy('a').setDoor('open')
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F2 packets to the first upstream are dropped: one connect timeout for the whole image, none for the next', async () => {
  const [image, second, next] = await stage.images(3, { layers: [200_000, 200_000, 200_000] })
  const a = stage.proxy('a')
  const end = await blackHole(a)
  stage.after(end)
  const connectMs = 4000
  const mirror = await stage.mirror({ settings: { upstream: { timeouts: { connect: `${connectMs}ms` } } } })

  const pulled = await pull(mirror.url, image!)
  const again = await pull(mirror.url, second!)

  expect([...pulled.layers, ...again.layers].map(({ source }) => source)).toEqual(Array(6).fill('b'))
  // The limit on connecting is paid once, by nobody a second time.
  expect(pulled.ms).toBeGreaterThan(connectMs * 0.9)
  expect(pulled.ms).toBeLessThan(connectMs * 2)
  expect(again.ms).toBeLessThan(connectMs)
  expect(a.accepted).toBe(0)

  await end()
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

test('F3 an upstream accepts and never answers: the next one is used, and the hung connection is closed', async () => {
  const [image, next] = await stage.images(2)
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  await a.setDoor('silent')

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(a.accepted).toBeGreaterThan(0)
  await expect.poll(() => a.sockets).toBe(0)
  expect((await mirror.standing('a')).state).toBe('open')

  await a.setDoor('open')
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})
