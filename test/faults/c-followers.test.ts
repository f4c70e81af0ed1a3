import { expect, test } from 'vitest'
import { fetchBlob, pull } from './client.js'
import { Follower } from './follower.js'
import { memoryOf } from './proc.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB

const stage = useStage({ name: 'c-followers', upstreams: ['a', 'b'] })

const blobOf = (url: string, { repository, layers }: Awaited<ReturnType<typeof stage.image>>) =>
  `${url}/v2/${repository}/blobs/${layers[0]!.digest}`

test('F41 50 clients ask for one blob at once: one body from upstream, and each reads before it has ended', async () => {
  const image = await stage.image({ layers: [4 * MIB] })
  const { digest, size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.line.bytesPerSecond = 256 * KIB

  const opening = Array.from({ length: 50 }, () => Follower.open(blobOf(mirror.url, image)))
  const clients = await Promise.all(opening)
  for (const client of clients) await client.until(1)
  const [under] = a.blobs
  expect(under!.state).toBe('answering')
  a.line.bytesPerSecond = undefined
  const read = await Promise.all(clients.map(({ done }) => done))

  expect(new Set(read.map(({ digest }) => digest))).toEqual(new Set([digest]))
  expect(clients.map(({ headers }) => headers['x-cache']).filter((cache) => cache === 'miss')).toHaveLength(1)
  expect(a.blobs).toHaveLength(1)
  expect(a.bytes).toBe(size)
  expect(stage.proxy('b').asked).toEqual([])
  expect((await pull(mirror.url, image)).layers[0]!.cache).toBe('hit')
})

test('F42 a client joins at 60 %: it has what is there at once, then the rest as it comes', async () => {
  const image = await stage.image({ layers: [4 * MIB] })
  const { digest, size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.line.bytesPerSecond = MIB
  const first = await Follower.open(blobOf(mirror.url, image))
  await first.until(0.6 * size)
  a.line.bytesPerSecond = 128 * KIB

  const second = await Follower.open(blobOf(mirror.url, image))
  await second.until(0.6 * size)

  expect(a.blobs.map(({ state }) => state)).toEqual(['answering'])
  expect(second.headers['x-cache']).toBe('join')
  const there = a.bytes
  await second.until(there + 1)
  expect(a.blobs.map(({ state }) => state)).toEqual(['answering'])
  a.line.bytesPerSecond = undefined
  expect((await first.done).digest).toBe(digest)
  expect((await second.done).digest).toBe(digest)
  expect(a.bytes).toBe(size)
  expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).cache).toBe('hit')
})

// Slower than 1 KB/s: they read nothing more at all until the quick one is through.
test('F43 twenty clients hold back, one reads: it is not slowed, and they cost no memory', async () => {
  const [image, before] = await stage.images(2, { layers: [32 * MIB] })
  const { digest, size } = image!.layers[0]!
  const mirror = await stage.mirror()
  await pull(mirror.url, before!)
  const memory = await memoryOf(mirror.pid)

  const opening = Array.from({ length: 20 }, () => Follower.open(blobOf(mirror.url, image!), { limit: 1 }))
  const slow = await Promise.all(opening)
  const quick = await fetchBlob(mirror.url, image!.repository, image!.layers[0]!)

  expect(quick.digest).toBe(digest)
  for (const { bytes } of slow) expect(bytes).toBeLessThan(MIB)
  // Twenty times what is not read yet would be 500 MiB and more.
  expect((await memoryOf(mirror.pid)).peak - memory.now).toBeLessThan(200 * MIB)
  const [one, other, ...rest] = slow
  for (const client of rest) client.leave()
  for (const client of [one!, other!]) {
    client.goOn()
    expect(await client.done).toEqual({ digest, bytes: size })
  }
})

test('F44 the client that began a download leaves at 10 %: it goes on, and the others get all of it', async () => {
  const image = await stage.image({ layers: [4 * MIB] })
  const { digest, size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.line.bytesPerSecond = MIB
  const first = await Follower.open(blobOf(mirror.url, image))
  const others = await Promise.all([Follower.open(blobOf(mirror.url, image)), Follower.open(blobOf(mirror.url, image))])
  await first.until(0.1 * size)

  first.leave()

  await expect(first.done).rejects.toThrow()
  expect(first.bytes).toBeLessThan(size)
  await others[0]!.until(first.bytes + 256 * KIB)
  a.line.bytesPerSecond = undefined
  for (const { done } of others) expect((await done).digest).toBe(digest)
  expect(a.blobs).toHaveLength(1)
  expect(a.bytes).toBe(size)
  expect((await pull(mirror.url, image)).layers[0]!.cache).toBe('hit')
})
