import { createHash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { pusher } from '../helpers/push.js'
import { fetchBlob, pull } from './client.js'
import { useStage } from './stage.js'

const KIB = 1024
const MIB = 1024 * KIB
const MINUTE_MS = 60_000

const stage = useStage({ name: 'c-encodings', upstreams: ['a', 'b'] })

test('F54 a blob comes without a length, and a manifest has told it: clients are told it, and it is kept', async () => {
  const image = await stage.image({ layers: [MIB] })
  const a = stage.proxy('a')
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const chunked = a.inject({ kind: 'chunked' }, { kind: 'blob' })

  const pulled = await pull(mirror.url, image)

  expect(chunked.met).toBe(2)
  expect(pulled.layers[0]!.headers['content-length']).toBe(String(MIB))
  expect((await fetchBlob(mirror.url, image.repository, image.layers[0]!)).cache).toBe('hit')
})

test('F54 a blob comes without a length, and nobody has told it: it is passed on as it comes, and kept', async () => {
  const image = await stage.image({ layers: [MIB] })
  const mirror = await stage.mirror({ upstreams: ['a'] })
  stage.proxy('a').inject({ kind: 'chunked' }, { kind: 'blob' })

  const read = await fetchBlob(mirror.url, image.repository, image.layers[0]!)
  const again = await fetchBlob(mirror.url, image.repository, image.layers[0]!)

  expect(read.headers).toMatchObject({ 'transfer-encoding': 'chunked' })
  expect(again.cache).toBe('hit')
  expect(again.headers['content-length']).toBe(String(MIB))
})

const ENCODED = [
  { what: 'is gzip', fault: { kind: 'encoded', as: 'gzip' } as const },
  { what: 'is x-gzip', fault: { kind: 'encoded', as: 'x-gzip' } as const },
  { what: 'is only said to be gzip', fault: { kind: 'encoded', as: 'gzip', plain: true } as const },
  { what: 'is only said to be x-gzip', fault: { kind: 'encoded', as: 'x-gzip', plain: true } as const },
]

test.each(ENCODED)(
  'F55 what comes $what although identity was asked for: the right bytes, without that header',
  async ({ fault }) => {
    const [image, next] = await stage.images(2)
    const a = stage.proxy('a')
    const mirror = await stage.mirror()
    const encoded = a.inject(fault)

    const pulled = await pull(mirror.url, image!)

    expect(encoded.met).toBeGreaterThan(0)
    const readings = [pulled.manifest, pulled.config, ...pulled.layers]
    for (const { headers } of readings) expect(headers).not.toHaveProperty('content-encoding')
    // A manifest is undone and checked at once; a blob is asked of the next one first.
    expect(readings.map(({ source }) => source)).toEqual(['a', 'b', 'b'])

    await a.heal()
    await mirror.later(60 * MINUTE_MS)
    await mirror.untilBack('a')
    const again = await pull(mirror.url, image!)
    for (const { cache, headers } of [again.manifest, again.config, ...again.layers]) {
      expect(cache).toBe('hit')
      expect(headers).not.toHaveProperty('content-encoding')
    }
    expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')
  },
)

test.each(ENCODED)(
  'F55 what $what comes from the only upstream there is: the right bytes, undone if need be',
  async ({ fault }) => {
    const [image, next] = await stage.images(2)
    const a = stage.proxy('a')
    const mirror = await stage.mirror({ upstreams: ['a'] })
    const encoded = a.inject(fault)

    const pulled = await pull(mirror.url, image!)

    expect(encoded.met).toBeGreaterThan(0)
    for (const { headers } of [pulled.manifest, pulled.config, ...pulled.layers])
      expect(headers).not.toHaveProperty('content-encoding')
    const unnamed = next!.layers[0]!
    expect((await fetchBlob(mirror.url, next!.repository, unnamed)).source).toBe('a')

    await a.heal()
    for (const { cache } of (await pull(mirror.url, image!)).layers) expect(cache).toBe('hit')
    expect((await pull(mirror.url, await stage.image())).layers[0]!.source).toBe('a')
  },
)

test('F62 a blob of no bytes and the config of two: served with their length, from upstream and from the cache', async () => {
  const push = pusher(stage.registry.url)
  const mirror = await stage.mirror({ upstreams: ['a'] })
  for (const content of [Buffer.alloc(0), Buffer.from('{}')]) {
    const digest = digestOf(content)
    const upload = await push.begin('library/small')
    expect((await push.finish(upload, digest, content as Uint8Array<ArrayBuffer>)).status).toBe(201)

    const reads = [
      await fetchBlob(mirror.url, 'library/small', { digest, size: content.length }),
      await fetchBlob(mirror.url, 'library/small', { digest, size: content.length }),
    ]
    const head = await mirror.read(`/v2/library/small/blobs/${digest}`, {}, 'HEAD')

    expect(reads.map(({ cache }) => cache)).toEqual(['miss', 'hit'])
    for (const { headers } of [...reads, head]) expect(headers['content-length']).toBe(String(content.length))
  }
})

test('F68 a sha512 digest: the blob is checked by it, and kept', async () => {
  const content = randomBytes(MIB)
  const digest = digestOf(content, 'sha512')
  const push = pusher(stage.registry.url)
  const upload = await push.begin('library/sha512')
  expect((await push.finish(upload, digest, content as Uint8Array<ArrayBuffer>)).status).toBe(201)
  const mirror = await stage.mirror()
  const a = stage.proxy('a')
  a.inject({ kind: 'flip' })
  const path = `/v2/library/sha512/blobs/${digest}`
  const sha256 = `sha256:${createHash('sha256').update(content).digest('hex')}`

  await expect(mirror.read(path)).rejects.toThrow()
  const read = await mirror.read(path)
  const again = await mirror.read(path)

  expect(read).toMatchObject({ status: 200, digest: sha256, bytes: MIB })
  expect(stage.proxy('b').blobs).toMatchObject([{ reference: digest, bytes: MIB }])
  expect((await mirror.standing('a')).state).toBe('quarantined')
  expect(again).toMatchObject({ status: 200, digest: sha256, cache: 'hit' })
  expect(again.headers['docker-content-digest']).toBe(digest)
})

test('F68 a digest of an algorithm that nobody knows: 400 DIGEST_INVALID, and upstream is not asked', async () => {
  const mirror = await stage.mirror()
  for (const digest of [`sha384:${'0'.repeat(96)}`, `md5:${'0'.repeat(32)}`, `sha256:${'0'.repeat(63)}`]) {
    for (const kind of ['blobs', 'manifests']) {
      const answer = await mirror.read(`/v2/library/app/${kind}/${digest}`)

      expect(answer.status).toBe(400)
      expect(JSON.parse(answer.text)).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] })
    }
  }
  expect(stage.proxies.flatMap(({ asked }) => asked)).toEqual([])
})
