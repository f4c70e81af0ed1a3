import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { headTag, pull } from './client.js'
import { type Answer, NameServer } from './name-server.js'
import { useStage } from './stage.js'
import { blackHole, droppedAt, WORLD } from './world.js'

const COOL_DOWN_MS = 11_000
const NAME = 'mirror.upstream.example'
const DUAL = 'dual.upstream.example'
const SILENT = { silent1: 'one.silent.example', silent2: 'two.silent.example', silent3: 'three.silent.example' }

const stage = useStage({
  name: 'a-names',
  upstreams: ['a', 'b', 'dual', 'silent1', 'silent2', 'silent3', 'named'],
  hosts: { a: NAME, dual: DUAL, ...SILENT, named: NAME },
})
let names: NameServer
let resolvConf: string

beforeAll(async () => {
  names = await NameServer.start('127.0.53.1')
  resolvConf = await names.writeResolvConf(join(stage.folder, 'resolv.conf'))
})
afterAll(() => names.stop())

const FAULTS: [string, Answer][] = [
  ['does not exist', { fault: 'nxdomain' }],
  ['cannot be resolved (SERVFAIL)', { fault: 'servfail' }],
  ['is resolved after 10 s', { addresses: [WORLD.upstreams], delayMs: 10_000 }],
]

// The system's own resolver asks a DNS server of the test, by a resolv.conf that only the mirror's process sees.
test.each(FAULTS)('F5 the name of the first upstream %s: the next one within the connect budget', async (_, answer) => {
  const [image, second, next] = await stage.images(3)
  names.names.set(NAME, answer)
  const connectMs = 4000
  const settings = { upstream: { timeouts: { connect: `${connectMs}ms` } } }
  const mirror = await stage.mirror({ upstreams: ['a', 'b'], resolvConf, settings })

  const pulled = await pull(mirror.url, image!)
  const again = await pull(mirror.url, second!)

  expect(names.asked).toContain(NAME)
  expect([pulled, again].map(({ layers }) => layers[0]!.source)).toEqual(['b', 'b'])
  // The limit on connecting includes the name; it is paid once, and the rest is far from another one.
  expect(pulled.ms).toBeLessThan(connectMs * 2)
  expect(again.ms).toBeLessThan(connectMs)
  expect(stage.proxy('a').accepted).toBe(0)

  names.names.set(NAME, { addresses: [WORLD.upstreams] })
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('a')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
})

// The system's resolver works on two names at a time: these three are more than it can wait for.
test('F5 the names of three upstreams hang: the fourth, by its name, serves all the same', async () => {
  const [image, next] = await stage.images(2)
  for (const host of Object.values(SILENT)) names.names.set(host, { addresses: [WORLD.upstreams], delayMs: 10_000 })
  names.names.set(NAME, { addresses: [WORLD.upstreams] })
  const settings = { upstream: { timeouts: { connect: '1s' }, firstHeaderBudget: '20s' } }
  const mirror = await stage.mirror({ upstreams: ['silent1', 'silent2', 'silent3', 'named'], resolvConf, settings })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.source).toBe('named')

  for (const host of Object.values(SILENT)) names.names.set(host, { addresses: [WORLD.upstreams] })
  await mirror.later(COOL_DOWN_MS)
  await mirror.untilBack('silent1')
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('silent1')
})

test('F6 the IPv6 route of an upstream is dead: IPv4 within 500 ms, and at once where only IPv4 is wanted', async () => {
  const [image, other, next] = await stage.images(3)
  const dual = stage.proxy('dual')
  const six = { address: WORLD.upstreams6, port: dual.port }
  names.names.set(DUAL, { addresses: [WORLD.upstreams6, WORLD.upstreams] })
  const end = await blackHole(six)
  stage.after(end)
  const only4 = await stage.mirror({ upstreams: [stage.entry('dual', { family: 4 })], resolvConf })

  const forced = await pull(only4.url, other!)
  const droppedBefore = await droppedAt(six)
  const mirror = await stage.mirror({ upstreams: ['dual'], resolvConf })
  const pulled = await pull(mirror.url, image!)

  expect([forced, pulled].map(({ layers }) => layers[0]!.source)).toEqual(['dual', 'dual'])
  expect(droppedBefore).toBe(0)
  expect(await droppedAt(six)).toBeGreaterThan(0)
  // What the dead route costs the first request of a process. A busy machine makes one try take longer, but not all.
  const costsMs = async () => {
    const [either, four] = await Promise.all([
      stage.mirror({ upstreams: ['dual'], resolvConf }),
      stage.mirror({ upstreams: [stage.entry('dual', { family: 4 })], resolvConf }),
    ])
    const forcedMs = await timeOf(() => headTag(four.url, other!))
    return (await timeOf(() => headTag(either.url, image!))) - forcedMs
  }
  await expect.poll(costsMs).toBeLessThan(500)

  await end()
  const proxy6 = await stage.addProxy({ name: 'six', ...six })
  const fresh = await stage.mirror({ upstreams: ['dual'], resolvConf })
  expect((await pull(fresh.url, next!)).layers[0]!.source).toBe('dual')
  expect(proxy6.blobs).toHaveLength(2)
})

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
