import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, type Fault, REPOSITORY, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const SIZE = 16 * MIB
const CLIENTS = 20

/** Without the challenges before them. */
const blobsOf = ({ requests }: BuiltInUpstream) =>
  requests.filter(({ path, status }) => path.includes('/blobs/') && status !== 401)
const blobBytes = (upstreams: BuiltInUpstream[]) =>
  upstreams.flatMap(blobsOf).reduce((sum, { bytesSent }) => sum + bytesSent, 0)

describe('what upstreams are asked', () => {
  let upstreams: BuiltInUpstream[]
  let mirror: Mirror
  let image: { manifest: string; layers: string[] }

  beforeEach(async () => {
    const layer = randomBytes(SIZE)
    upstreams = await Promise.all([0, 1, 2, 3].map(() => startUpstream({ auth: { kind: 'bearer' } })))
    for (const upstream of upstreams) image = upstream.addImage(REPOSITORY, 'v1', { layers: [layer] })
  })
  afterEach(closeAll)

  const start = async (used: BuiltInUpstream[], tags = {}) => {
    mirror = await startMirror({
      registries: {
        'docker.io': registry(
          used.map(({ url }, at) => ({ name: `m${at}`, url, ...(at === used.length - 1 ? { role: 'origin' } : {}) })),
          { tags },
        ),
      },
      // Parts that are too small to be shared out again: on a busy machine any stream may look slow for a while.
      settings: {
        upstream: { timeouts: { connect: '1s', firstByte: '5s', idle: '5s' }, segments: { size: '500KiB' } },
      },
    })
  }

  const pull = async () => {
    const manifest = await mirror.manifest(REPOSITORY, 'v1')
    expect(manifest).toMatchObject({ status: 200, digest: image.manifest })
    expect(await mirror.blob(REPOSITORY, image.layers[0]!)).toMatchObject({ status: 200, digest: image.layers[0] })
  }

  test('a tag that is always asked for, pulled 100 times: one GET, and a HEAD for each later pull', async () => {
    const [hub] = upstreams as [BuiltInUpstream]
    await start([hub], { ttl: '0s' })

    for (let n = 0; n < 100; n++) await mirror.manifest(REPOSITORY, 'v1')

    expect(hub.count(/^GET .*\/manifests\//)).toBe(2) // the challenge is one of them
    expect(hub.count(/^HEAD .*\/manifests\//)).toBe(99)
  })

  test('100 pulls of one repository at once: one token, one manifest, each blob once', async () => {
    const [hub] = upstreams as [BuiltInUpstream]
    image = hub.addImage(REPOSITORY, 'v1', { layers: [MIB] })
    await start([hub])

    await Promise.all(Array.from({ length: 100 }, pull))

    expect(hub.tokenRequests).toBe(1)
    expect(hub.count(({ path, status }) => path.includes('/manifests/') && status === 200)).toBe(1)
    expect(blobBytes([hub])).toBe(MIB)
  })

  test.each([1, 2, 4])('%i upstreams, many clients, no fault: the blob once', async (count) => {
    const used = upstreams.slice(0, count)
    for (const upstream of used) upstream.bytesPerSecond = 8 * MIB
    await start(used)

    await Promise.all(Array.from({ length: CLIENTS }, pull))

    expect(blobBytes(used) / SIZE).toBeLessThan(1.1)
  })

  test.each<[string, Fault]>([
    ['cut', { kind: 'cut', after: 100_000 }],
    ['stall', { kind: 'stall', after: 100_000 }],
    ['answer 500', { kind: 'status', status: 500 }],
    ['send a page', { kind: 'html' }],
    ['send too little', { kind: 'short' }],
    ['have no ranges', { kind: 'ignore-range' }],
  ])('three of four upstreams that %s: at most a tenth more than the blob', async (_case, fault) => {
    for (const upstream of upstreams) upstream.bytesPerSecond = 16 * MIB
    for (const upstream of upstreams.slice(0, 3))
      upstream.fault = ({ path, method }) => (method === 'GET' && path.includes('/blobs/') ? fault : undefined)
    await start(upstreams)

    await pull()

    expect(blobBytes(upstreams) / SIZE).toBeLessThanOrEqual(1.1)
  })

  test('a blob in 16 parts from an upstream that redirects: it is asked once', async () => {
    const [hub] = upstreams as [BuiltInUpstream]
    const store = await startUpstream()
    store.addBlob(hub.blob(image.layers[0]! as never) as Buffer)
    store.bytesPerSecond = 4 * MIB
    hub.fault = ({ path, method }) =>
      method === 'GET' && path.includes('/blobs/')
        ? { kind: 'redirect', to: `${store.url}/v2/any/blobs/${image.layers[0]}` }
        : undefined
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
      settings: { upstream: { segments: { size: '1MiB', minBlob: '16MiB', perUpstream: 8 } } },
    })

    await pull()

    expect(blobsOf(hub).filter(({ status }) => status === 307)).toHaveLength(1)
    expect(blobsOf(store).length).toBe(16)
  })
})
