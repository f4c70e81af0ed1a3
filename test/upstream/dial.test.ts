import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { dialFirst, interleaved } from '../../src/upstream/dial.js'
import type { Lookup } from '../../src/upstream/name-lookup.js'
import { startBlackHole } from '../helpers/black-hole.js'
import { clientOf, closeAll, closing } from '../helpers/upstream.js'

afterEach(async () => {
  vi.useRealTimers()
  await closeAll()
})

const stopTimers = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })

const never = new AbortController().signal

const addressesOf = (...addresses: string[]) => addresses.map((address) => ({ address, family: 4 }))

/** Answers every request, on an address of this machine. */
async function startServer(host: string, port: number) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'))
  }).listen(port, host)
  await once(server, 'listening')
  closing({
    async close() {
      server.close()
      await once(server, 'close')
    },
  })
  return (server.address() as AddressInfo).port
}

describe('F6: a family that leads nowhere', () => {
  test('costs a quarter of a second: then the next address is tried beside it', async () => {
    const hole = closing(await startBlackHole())
    const port = Number(new URL(hole.url).port)
    await startServer('127.0.0.2', port)
    stopTimers()

    // a silent IPv6 address cannot be had on every machine; what matters is that the first one is silent
    const dialling = dialFirst(addressesOf('127.0.0.1', '127.0.0.2'), port, never)
    const early = vi.getTimerCount()
    vi.advanceTimersByTime(249)
    const waiting = vi.getTimerCount()
    vi.advanceTimersByTime(1)
    const socket = await dialling

    expect([early, waiting, vi.getTimerCount()]).toEqual([1, 1, 0])
    expect(socket.remoteAddress).toBe('127.0.0.2')
    socket.destroy()
  })

  test('does not make the upstream unreached', async () => {
    const hole = closing(await startBlackHole())
    const port = Number(new URL(hole.url).port)
    await startServer('127.0.0.2', port)
    const lookup: Lookup = async () => addressesOf('127.0.0.1', '127.0.0.2')
    const timeouts = { connectMs: 5000, firstByteMs: 5000, idleMs: 5000 }

    await expect(clientOf(`http://registry.test:${port}`, { timeouts }, { lookup }).ping()).resolves.toBeUndefined()
  })

  test.each([
    ['auto', 0],
    [4, 4],
    [6, 6],
  ] as const)('family %s asks the system for family %i', async (family, asked) => {
    const port = await startServer('127.0.0.1', 0)
    const families: number[] = []
    const lookup: Lookup = async (_hostname, options) => {
      families.push(options.family)
      return [{ address: '127.0.0.1', family: 4 }]
    }

    await clientOf(`http://registry.test:${port}`, { egress: { family } }, { lookup }).ping()

    expect(families).toEqual([asked])
  })
})

test.each([
  [
    [6, 6, 4, 4, 4],
    [6, 4, 6, 4, 4],
  ],
  [
    [4, 6, 6],
    [4, 6, 6],
  ],
  [[4], [4]],
  [[], []],
])('addresses of the families %j are tried as %j', (families, order) => {
  const addresses = families.map((family, index) => ({ address: `${index}`, family }))

  expect(interleaved(addresses).map(({ family }) => family)).toEqual(order)
  expect(new Set(interleaved(addresses))).toEqual(new Set(addresses))
})

describe('dialFirst', () => {
  test('goes on at once past addresses that refuse', async () => {
    const port = await startServer('127.0.0.1', 0)
    stopTimers()

    const socket = await dialFirst(addressesOf('127.0.0.3', '127.0.0.2', '127.0.0.1'), port, never)

    expect(socket.remoteAddress).toBe('127.0.0.1')
    socket.destroy()
  })

  test('says what every address said', async () => {
    const port = await startServer('127.0.0.1', 0)
    const refused = (...addresses: string[]) => dialFirst(addressesOf(...addresses), port, never)

    await expect(refused('127.0.0.2')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await expect(refused('127.0.0.2', '127.0.0.3')).rejects.toMatchObject({
      errors: [{ code: 'ECONNREFUSED' }, { code: 'ECONNREFUSED' }],
    })
  })

  test('ends when the signal aborts', async () => {
    const hole = closing(await startBlackHole())
    const giveUp = new AbortController()
    const dialling = dialFirst(addressesOf('127.0.0.1'), Number(new URL(hole.url).port), giveUp.signal)

    giveUp.abort(new Error('enough'))

    await expect(dialling).rejects.toThrow('enough')
  })
})
