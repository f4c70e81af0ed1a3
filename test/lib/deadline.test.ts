import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { Deadline } from '../../src/lib/deadline.js'

test('runs out after its time, and again after a refresh', async () => {
  let times = 0
  const deadline = new Deadline(10, () => times++)
  await expect.poll(() => times).toBe(1)

  deadline.refresh()

  await expect.poll(() => times).toBe(2)
})

test('cleared, it tells nothing', async () => {
  let told = false
  const cleared = new Deadline(5, () => {
    told = true
  })
  cleared.clear()
  const later = new Promise<void>((resolve) => new Deadline(30, resolve))

  await later

  expect(told).toBe(false)
})

test('a process that was busy past it deals first with the bytes that are there', async () => {
  const server = createServer((socket) => socket.write('bytes')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(server, 'connection')
  await once(socket, 'connect')
  const first = new Promise<string>((resolve) => {
    const deadline = new Deadline(20, () => resolve('ran out'))
    socket.once('data', () => {
      deadline.clear()
      resolve('bytes')
    })
  })

  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60)

  expect(await first).toBe('bytes')
  socket.destroy()
  server.close()
})
