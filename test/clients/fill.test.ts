import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Occasion } from '../helpers/fault-proxy/fault.js'
import { read, readTogether } from '../helpers/readers.js'
import { factsOf } from './facts.js'
import { figure, MIB } from './figure.js'
import { Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder, startDockerHub } from './stage.js'

const BLOBS: Occasion = { method: 'GET', kind: 'blob' }

describe('One cold blob of 64 MiB', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror | undefined
  let blob: { digest: string; size: number }
  let run = 0

  beforeAll(async () => {
    folder = await stageFolder('fill')
    upstreams = await startDockerHub(folder)
    const { skopeo } = await observer(folder)
    const { layers } = await factsOf(skopeo, `${upstreams.get('hub').registry.host}/library/large`)
    blob = layers[0]!
  })
  afterEach(async () => {
    await mirror?.stop()
    for (const proxy of upstreams.proxies) await proxy.heal()
  })
  afterAll(() => upstreams.stop())

  /** A mirror that has nothing yet. */
  async function emptyMirror(): Promise<Mirror> {
    upstreams.forget()
    mirror = await Mirror.start({ folder: join(folder, `run-${++run}`), registries: hubRegistries(upstreams) })
    return mirror
  }

  const blobUrl = ({ url }: Mirror) => `${url}/v2/library/large/blobs/${blob.digest}`
  /** Of blobs alone: a challenge has a body too. */
  const blobBytes = () =>
    upstreams.proxies
      .flatMap(({ blobs }) => blobs.filter(({ status }) => status < 300))
      .reduce((sum, { bytes }) => sum + bytes, 0)

  test.each([1, 8, 32])('asked for by %i clients at once is sent by the upstreams once', async (clients) => {
    const readings = await readTogether(blobUrl(await emptyMirror()), clients)

    expect(readings.map(({ digest }) => digest)).toEqual(Array.from({ length: clients }, () => blob.digest))
    // Here the upstreams share a process with the readers. One that is slow for that may be broken off for another, and what was
    // on its way then is counted twice; a second download would be.
    expect(blobBytes()).toBeGreaterThanOrEqual(blob.size)
    expect(blobBytes() / blob.size).toBeLessThan(1.5)
    figure(`one cold blob, ${clients} clients: upstream bytes over its size`, (blobBytes() / blob.size).toFixed(4))
  })

  test('reaches the client within 100 ms of reaching the mirror, at 8 MB/s', async () => {
    for (const proxy of upstreams.proxies) proxy.inject({ kind: 'throttle', bytesPerSecond: 8_000_000 }, BLOBS)

    const reading = await read(blobUrl(await emptyMirror()))

    const sentAt = upstreams.proxies.flatMap(({ blobs }) => blobs.filter(({ status }) => status < 300))[0]!.firstByteAt!
    expect(reading.digest).toBe(blob.digest)
    expect(reading.firstByteAt - sentAt).toBeLessThan(100)
    figure('first byte at the client after the first byte from upstream', reading.firstByteAt - sentAt, 'ms')
  })

  test('is continued after a kill -9 at half of it: the upstreams send only the rest', async () => {
    for (const proxy of upstreams.proxies) proxy.inject({ kind: 'throttle', bytesPerSecond: 24_000_000 }, BLOBS)
    const first = await emptyMirror()
    const lost = read(blobUrl(first)).catch(() => undefined)
    const fills = join(folder, `run-${run}`, 'data/fills')
    await expect.poll(() => sizeOf(fills), { interval: 20, timeout: 20_000 }).toBeGreaterThanOrEqual(blob.size / 2)
    await first.kill()
    await lost
    const before = blobBytes()
    for (const proxy of upstreams.proxies) await proxy.heal()

    mirror = await Mirror.start({ folder: join(folder, `run-${run}`), registries: hubRegistries(upstreams) })
    const reading = await read(blobUrl(mirror))

    expect(reading.digest).toBe(blob.digest)
    expect(blobBytes()).toBeLessThanOrEqual(blob.size + 8 * MIB)
    figure('kill -9 at half: upstream bytes before the kill', before, 'B')
    figure('kill -9 at half: bytes sent twice', blobBytes() - blob.size, 'B')
  })
})

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}
