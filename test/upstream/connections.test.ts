import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { parseTag, referenceOf } from '../../src/oci/reference.js'
import { startBlackHole } from '../helpers/black-hole.js'
import { clientOf, closeAll, closing, REPOSITORY } from '../helpers/upstream.js'

afterEach(closeAll)

const LATEST = referenceOf(parseTag('latest'))
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n'

/** undici looks at an idle socket for a moment before it uses it again. */
const IDLE_MS = 20

/** Speaks for each request of each connection as it is told: both counted from 0. */
async function startRaw(speak: (socket: Socket, connection: number, request: number) => void) {
  const sockets: Socket[] = []
  const requests: number[] = []
  const server = createServer((socket) => {
    const connection = sockets.push(socket) - 1
    let count = 0
    socket.on('error', () => undefined)
    socket.on('data', () => {
      requests.push(connection)
      speak(socket, connection, count++)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing({
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

describe('a kept-alive connection', () => {
  test.each<[string, (socket: Socket) => void]>([
    ['closed', (socket) => void socket.end()],
    ['reset', (socket) => void socket.resetAndDestroy()],
  ])('%s by the server as it is used again: the request is repeated once on a new one', async (_case, end) => {
    const { url, requests } = await startRaw((socket, connection, request) => {
      if (connection === 0 && request === 1) end(socket)
      else socket.write(HEAD)
    })
    const client = clientOf(url)
    await client.headManifest(REPOSITORY, LATEST)
    await sleep(IDLE_MS)

    await client.headManifest(REPOSITORY, LATEST)

    expect(requests).toEqual([0, 0, 1])
  })

  test('whose successor is closed as well is a failure, and not tried again', async () => {
    const { url, requests } = await startRaw((socket, connection, request) => {
      if (connection === 0 && request === 0) socket.write(HEAD)
      else socket.end()
    })
    const client = clientOf(url)
    await client.headManifest(REPOSITORY, LATEST)
    await sleep(IDLE_MS)

    await expect(client.headManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'down', unreached: false })

    expect(requests).toEqual([0, 0, 1])
  })

  test('a new connection that is closed is a failure at once', async () => {
    const { url, requests } = await startRaw((socket) => socket.end())

    await expect(clientOf(url).headManifest(REPOSITORY, LATEST)).rejects.toMatchObject({ kind: 'down' })

    expect(requests).toEqual([0])
  })
})

describe('time limits', () => {
  test('a connection that does not come about is given up after the connect limit', async () => {
    const hole = closing(await startBlackHole())
    const client = clientOf(hole.url, { timeouts: { connectMs: 300, firstByteMs: 5000, idleMs: 5000 } })
    const beganAt = performance.now()

    await expect(client.ping()).rejects.toMatchObject({ kind: 'down', unreached: true })

    expect(performance.now() - beganAt).toBeLessThan(900)
  })

  test('a head that does not come is given up after the first-byte limit', async () => {
    const { url } = await startRaw(() => undefined)
    const client = clientOf(url, { timeouts: { connectMs: 5000, firstByteMs: 300, idleMs: 5000 } })
    const beganAt = performance.now()

    await expect(client.ping()).rejects.toMatchObject({ kind: 'slow', silent: true })

    expect(performance.now() - beganAt).toBeLessThan(900)
  })

  test('a 1xx answer does not count as the head', async () => {
    const { url } = await startRaw((socket) => void socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'))

    await expect(clientOf(url).ping()).rejects.toMatchObject({ kind: 'slow', silent: true })
  })
})

test('an answer that is no HTTP is a failure of the upstream', async () => {
  const { url } = await startRaw((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'))

  await expect(clientOf(url).ping()).rejects.toMatchObject({ kind: 'down' })
})

test('a name that does not exist is unreached', async () => {
  await expect(clientOf('http://registry.invalid').ping()).rejects.toMatchObject({ kind: 'down', unreached: true })
})
