import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { read } from '../helpers/readers.js'
import { RegistryUpstream } from '../helpers/registry-upstream.js'
import { figure, MIB } from './figure.js'
import { Mirror } from './mirror.js'
import { stageFolder } from './stage.js'
import { WORLD } from './world.js'

const CLIENTS = 32
const SIZE = 64 * MIB

let registry: RegistryUpstream
let proxy: FaultProxy
let mirror: Mirror
const digests: string[] = []

beforeAll(async () => {
  const folder = await stageFolder('memory')
  const address = WORLD.upstreamAddress
  registry = await RegistryUpstream.start({ name: 'memory', folder, storage: join(folder, 'content'), address })
  const content = randomBytes(SIZE)
  for (let n = 0; n < CLIENTS; n++) {
    content.writeUInt32LE(n)
    digests.push(await upload(content))
  }
  proxy = await FaultProxy.start({ name: 'memory', address, target: registry.url })
  mirror = await Mirror.start({
    folder,
    registries: { 'docker.io': { upstreams: [{ name: 'hub', url: proxy.url, role: 'origin' }] } },
  })
})

afterAll(async () => {
  await mirror.stop()
  await proxy.stop()
  await registry.stop()
})

async function upload(content: Buffer): Promise<string> {
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
  const begun = await fetch(`${registry.url}/v2/library/streams/blobs/uploads/`, { method: 'POST' })
  const location = new URL(begun.headers.get('location') ?? '', registry.url)
  location.searchParams.set('digest', digest)
  const put = await fetch(location, { method: 'PUT', body: content })
  expect(put.status).toBe(201)
  return digest
}

test('32 clients stream different blobs of 64 MiB, cold and then warm, in at most 256 MiB of memory', async () => {
  for (const outcome of ['miss', 'hit']) {
    const readings = await Promise.all(
      digests.map((digest) => read(`${mirror.url}/v2/library/streams/blobs/${digest}`)),
    )

    expect(readings.map(({ digest, cache }) => [digest, cache])).toEqual(digests.map((digest) => [digest, outcome]))
    figure(`peak memory of the server, 32 x 64 MiB, ${outcome}`, mirror.peakMemory / MIB, 'MiB')
    expect(mirror.peakMemory).toBeLessThanOrEqual(256 * MIB)
  }
})
