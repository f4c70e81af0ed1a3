import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { TokenService } from '../helpers/token-service.js'
import { fetchBlob, fetchManifest, headTag, pull } from './client.js'
import { Follower } from './follower.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

const KIB = 1024
const MIB = 1024 * KIB
/** What was measured of an upstream is old then. */
const HOUR_MS = 60 * 60_000

const authority = new Authority()
const stage = useStage({
  name: 'c-connections',
  upstreams: ['a', 'b', 'h2'],
  tls: { h2: { ...authority.issue(WORLD.upstreams), ALPNProtocols: ['h2', 'http/1.1'] } },
})
let tokens: TokenService
let restricted: RegistryUpstream

beforeAll(async () => {
  tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  restricted = await stage.addRegistry('restricted', { storage: stage.storageOf('main'), tokens })
})
afterAll(() => tokens.stop())

test('F64 more is wanted than an upstream may be asked at once: requests wait in the order in which they came', async () => {
  const images = await stage.images(10, { layers: [600 * KIB] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: [stage.entry('a', { connections: 3 })] })
  a.line.bytesPerSecond = 512 * KIB
  const digests = images.map(({ layers }) => layers[0]!.digest)

  const clients: Promise<Follower>[] = []
  for (const { repository, layers } of images) {
    clients.push(Follower.open(`${mirror.url}/v2/${repository}/blobs/${layers[0]!.digest}`))
    // Its answer says that what was asked before it has been read.
    await mirror.stats()
  }
  const manifest = await headTag(mirror.url, images[0]!)
  const blobsBefore = a.blobs.length
  a.line.bytesPerSecond = undefined
  const answers = await Promise.all(clients)
  const read = await Promise.all(answers.map(({ done }) => done))

  expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200))
  expect(read.map(({ digest }) => digest)).toEqual(digests)
  // Two that are sent at once, each over a connection of its own, may arrive either way round.
  const arrivedAt = digests.map((digest) => a.blobs.findIndex(({ reference }) => reference === digest))
  expect(a.blobs).toHaveLength(digests.length)
  expect(Math.max(...arrivedAt.map((place, turn) => Math.abs(place - turn)))).toBeLessThanOrEqual(1)
  expect(a.peak).toBe(3)
  // One of the three is kept for what is short.
  expect(manifest.status).toBe(200)
  expect(blobsBefore).toBeLessThan(10)
})

test('F64 a request that waits for its turn is given up: it leaves the queue, and upstream is never asked', async () => {
  const [image, other] = await stage.images(2, { layers: [3 * MIB] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror({
    upstreams: [stage.entry('a', { connections: 1 })],
    settings: { upstream: { firstHeaderBudget: '2s' } },
  })
  a.line.bytesPerSecond = 512 * KIB
  const client = await Follower.open(`${mirror.url}/v2/${image!.repository}/blobs/${image!.layers[0]!.digest}`)

  const refused = await mirror.read(`/v2/${other!.repository}/manifests/${other!.digest}`)
  a.line.bytesPerSecond = undefined
  await client.done
  const next = await fetchBlob(mirror.url, image!.repository, image!.config)

  expect(refused.status).toBe(503)
  expect(next.status).toBe(200)
  expect(a.asked.map(({ reference }) => reference)).toEqual([image!.layers[0]!.digest, image!.config.digest])
  expect((await fetchManifest(mirror.url, other!)).status).toBe(200)
})

// The mirror speaks HTTP/1.1 alone, so no RST_STREAM or GOAWAY can reach it: that is what is shown here, with an upstream
// that would rather speak HTTP/2, and that a cut in the middle is resumed.
test('F65 an upstream offers HTTP/2 and breaks off in the middle of a blob: HTTP/1.1 is spoken, and the blob is resumed', async () => {
  const [image, next] = await stage.images(2, { layers: [2 * MIB] })
  const { digest, size } = image!.layers[0]!
  const ca = join(stage.folder, 'ca.pem')
  await writeFile(ca, authority.cert)
  const h2 = stage.proxy('h2')
  const mirror = await stage.mirror({ upstreams: ['h2'], settings: { upstream: { ca } } })
  h2.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' })

  const pulled = await pull(mirror.url, image!)

  expect(pulled.layers[0]!.status).toBe(200)
  expect(h2.protocols.length).toBeGreaterThan(0)
  expect(new Set(h2.protocols)).not.toContain('h2')
  expect(h2.blobs.filter(({ reference }) => reference === digest).map(({ range }) => range)).toEqual([
    undefined,
    `bytes=${size / 2}-`,
  ])
  await h2.heal()
  await mirror.later(HOUR_MS)
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('h2')
})

test.each(['reset', 'close'] as const)(
  'F66 an idle connection ends (%s) as a request is written to it: the request is sent once more',
  async (how) => {
    const [image, next] = await stage.images(2)
    const a = stage.proxy('a')
    const mirror = await stage.mirror({ upstreams: ['a'] })
    await pull(mirror.url, image!)
    const occasions = [
      { on: { method: 'HEAD' } as const, ask: () => headTag(mirror.url, image!) },
      { on: { reference: next!.digest }, ask: () => fetchManifest(mirror.url, next!, next!.digest) },
      {
        on: { reference: next!.layers[0]!.digest },
        ask: () => fetchBlob(mirror.url, next!.repository, next!.layers[0]!),
      },
    ]
    for (const { on, ask } of occasions) {
      // Leaves a connection that has served.
      await pull(mirror.url, await stage.image())
      await mirror.later(6 * 60_000)
      a.forget()
      const broken = a.inject({ kind: how }, on, 1)

      const answer = await ask()

      expect(broken.met).toBe(1)
      expect(answer.source).toBe('a')
      expect(a.asked).toHaveLength(2)
    }
    expect(await mirror.standing('a')).toMatchObject({ state: 'up', errors: 0 })
  },
)

// docker-registry accepts a token for a minute after its end: its own answer to a request without one is given instead.
test('F67 the token has ended when the rest of a blob is asked for: a new one is fetched, and the blob goes on', async () => {
  const image = await stage.image({ layers: [2 * MIB] })
  const { digest, size } = image.layers[0]!
  const a = stage.proxy('a')
  a.target = restricted.url
  stage.after(async () => {
    a.target = stage.registry.url
  })
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const { headers } = await fetch(`${restricted.url}/v2/${image.repository}/blobs/${digest}`)
  const challenge = { 'www-authenticate': headers.get('www-authenticate')! }
  a.inject({ kind: 'cut', after: 0.5 }, { reference: digest, range: 'none' })
  a.inject({ kind: 'status', status: 401, headers: challenge }, { reference: digest, range: 'any' }, 1)
  const before = tokens.asked.length

  const pulled = await pull(mirror.url, image)

  expect(pulled.layers[0]!.status).toBe(200)
  const blobs = a.blobs.filter(({ reference }) => reference === digest)
  expect(blobs.map(({ status, range, bytes }) => ({ status, range, bytes }))).toEqual([
    { status: 200, range: undefined, bytes: size / 2 },
    { status: 401, range: `bytes=${size / 2}-`, bytes: 0 },
    { status: 206, range: `bytes=${size / 2}-`, bytes: size / 2 },
  ])
  expect(tokens.asked.length - before).toBe(2)
  expect(new Set(blobs.map(({ authorization }) => authorization)).size).toBe(2)
  expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).cache).toBe('hit')
})
