import { expect, test } from 'vitest'
import { fetchBlob, pull } from './client.js'
import type { Image } from './content.js'
import { Follower } from './follower.js'
import type { MirrorProcess } from './mirror.js'
import { openBy } from './proc.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB
const POLL = { interval: 50, timeout: 20_000 }

const stage = useStage({ name: 'c-leaving', upstreams: ['a'] })

/** So slow that a fill that has begun is not at its end while it is looked at. */
const SLOWLY = 128 * KIB

/** Asks for the layer and leaves at about a tenth of it. */
async function leaveEarly({ url }: MirrorProcess, { repository, layers }: Image): Promise<void> {
  const client = await Follower.open(`${url}/v2/${repository}/blobs/${layers[0]!.digest}`)
  await client.until(0.1 * layers[0]!.size)
  client.leave()
  await expect(client.done).rejects.toThrow()
}

/** Sockets, and files that hold content. */
async function contentOpenBy({ pid, folder }: MirrorProcess) {
  const links = await openBy(pid)
  const content = links.filter((link) => link.startsWith(`${folder}/data/`) && !link.includes('.db'))
  return { sockets: links.filter((link) => link.startsWith('socket:')).length, content }
}

test('F45 the only client leaves, a dozen times: each blob is fetched to its end, and nothing stays open', async () => {
  const a = stage.proxy('a')
  const images = await stage.images(12, { layers: [MIB] })
  const mirror = await stage.mirror()
  await pull(mirror.url, await stage.image())
  const before = await contentOpenBy(mirror)
  a.forget()

  for (const image of images) {
    a.line.bytesPerSecond = 512 * KIB
    await leaveEarly(mirror, image)
    a.line.bytesPerSecond = SLOWLY
    // That of the round before may be open for a moment after its last byte has left the upstream.
    await expect.poll(async () => (await contentOpenBy(mirror)).content.length, POLL).toBe(1)
    expect(a.blobs.at(-1)!.state).toBe('answering')
    a.line.bytesPerSecond = undefined
    await expect.poll(() => a.blobs.at(-1)!.state, POLL).toBe('done')
  }

  expect(a.blobs.map(({ bytes }) => bytes)).toEqual(images.map(({ layers }) => layers[0]!.size))
  await expect.poll(async () => (await contentOpenBy(mirror)).content, POLL).toEqual([])
  await expect.poll(async () => (await contentOpenBy(mirror)).sockets, POLL).toBeLessThanOrEqual(before.sockets)
  for (const image of images) {
    expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).cache).toBe('hit')
  }
})

test('F46 a client leaves and comes again: it joins, and upstream is asked for nothing twice', async () => {
  const image = await stage.image({ layers: [2 * MIB] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.line.bytesPerSecond = 512 * KIB
  await leaveEarly(mirror, image)
  a.line.bytesPerSecond = SLOWLY
  const again = await Follower.open(`${mirror.url}/v2/${image.repository}/blobs/${image.layers[0]!.digest}`)
  a.line.bytesPerSecond = undefined

  expect(again.headers['x-cache']).toBe('join')
  expect(await again.done).toEqual({ digest: image.layers[0]!.digest, bytes: image.layers[0]!.size })
  expect(a.blobs).toHaveLength(1)
  expect(a.bytes).toBe(image.layers[0]!.size)
})

test('F46 a client leaves, upstream breaks off and is away: when it is back it is asked for what is missing', async () => {
  const image = await stage.image({ layers: [2 * MIB] })
  const { size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.inject(
    [
      { kind: 'throttle', bytesPerSecond: 2 * MIB },
      { kind: 'cut', after: 0.5 },
    ],
    { range: 'none' },
  )
  a.inject({ kind: 'status', status: 503 }, { range: 'any' })
  await leaveEarly(mirror, image)
  const notCached = () => mirror.log.filter(({ msg }) => msg === 'blob not cached')
  await expect.poll(notCached, POLL).toHaveLength(1)
  a.forget()
  await a.heal()
  await mirror.later(11_000)

  const again = await fetchBlob(mirror.url, image.repository, image.layers[0]!)

  expect(again.cache).toBe('miss')
  const [rest] = a.blobs
  expect(rest!.range).toBe(`bytes=${size / 2}-`)
  expect(rest!.bytes).toBe(size / 2)
  expect(a.blobs).toHaveLength(1)
})

test('F46 a client leaves and the server is restarted: the next one asks for what is missing', async () => {
  const image = await stage.image({ layers: [2 * MIB] })
  const { size } = image.layers[0]!
  const a = stage.proxy('a')
  const mirror = await stage.mirror()
  a.line.bytesPerSecond = 512 * KIB
  await leaveEarly(mirror, image)
  a.line.bytesPerSecond = SLOWLY
  await stage.stop(mirror)
  a.line.bytesPerSecond = undefined
  const [before] = a.blobs
  a.forget()

  const next = await stage.mirror({ folder: mirror.folder })
  const again = await fetchBlob(next.url, image.repository, image.layers[0]!)

  expect(again.cache).toBe('miss')
  const [rest] = a.blobs
  const from = Number(/^bytes=(\d+)-$/.exec(rest!.range ?? '')?.[1])
  expect(from).toBeGreaterThanOrEqual(0.1 * size)
  expect(from).toBeLessThanOrEqual(before!.bytes)
  expect(rest!.bytes).toBe(size - from)
  expect(a.blobs).toHaveLength(1)
})
