import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { pull } from './client.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

/** The cool-down of an upstream that was found out of reach, and a little more. */
const COOL_DOWN_MS = 11_000

const authority = new Authority()
const right = authority.issue(WORLD.upstreams)
const stage = useStage({ name: 'a-certificates', upstreams: ['a', 'b'], tls: { a: right, b: right } })

const FAULTS: [string, (proxy: FaultProxy) => unknown][] = [
  ['answers the handshake with an alert', (proxy) => proxy.setDoor('alert')],
  ['has an expired certificate', (proxy) => proxy.present(authority.issueExpired(WORLD.upstreams))],
  ['has a certificate for another host', (proxy) => proxy.present(authority.issue('elsewhere.example'))],
  [
    'has a certificate of an authority that nobody knows',
    (proxy) => proxy.present(new Authority().issue(WORLD.upstreams)),
  ],
]

test.each(FAULTS)('F4 the first upstream %s: the next one serves, nothing goes out unverified', async (_, spoil) => {
  const [image, next] = await stage.images(2)
  const ca = join(stage.folder, 'ca.pem')
  await writeFile(ca, authority.cert)
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ settings: { upstream: { ca } } })
  await spoil(a)

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('b')
  expect(a.accepted).toBeGreaterThan(0)
  expect(a.asked).toEqual([])
  expect((await mirror.standing('a')).state).toBe('open')

  await a.setDoor('open')
  a.present(right)
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})
