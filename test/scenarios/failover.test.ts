import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, type Fault, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const SIZE = 3 * MIB

describe('two mirrors before the origin', () => {
  let bad: BuiltInUpstream
  let worse: BuiltInUpstream
  let hub: BuiltInUpstream
  let mirror: Mirror
  let content: { manifest: string; layer: string }

  beforeEach(async () => {
    bad = await startUpstream()
    worse = await startUpstream()
    hub = await startUpstream({ auth: { kind: 'bearer' } })
    const layer = randomBytes(SIZE)
    for (const upstream of [bad, worse, hub]) {
      const image = upstream.addImage('library/app', 'v1', { layers: [layer] })
      content = { manifest: image.manifest, layer: image.layers[0]! }
    }
    mirror = await startMirror({
      registries: {
        'docker.io': registry([
          { name: 'bad', url: bad.url },
          { name: 'worse', url: worse.url },
          { name: 'hub', url: hub.url, role: 'origin' },
        ]),
      },
    })
  })
  afterEach(closeAll)

  test('whoever refuses a repository or has no quota left is told of in the statistics and the log, with the reason', async () => {
    bad.fault = () => ({ kind: 'status', status: 403 })
    worse.fault = () => ({ kind: 'status', status: 402 })
    await mirror.blob('library/app', content.layer)
    await mirror.manifest('library/app', content.manifest)

    const { upstreams } = await mirror.stats()

    const later = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(upstreams).toMatchObject([
      { name: 'bad', state: 'up', refusals: [{ repository: 'library/app', reason: 'answered 403', until: later }] },
      { name: 'worse', state: 'limited', reason: 'answered 402', until: later },
      { name: 'hub', state: 'up' },
    ])
    expect(Object.keys(upstreams[2]!)).not.toContain('refusals')
    expect(mirror.log.filter(({ msg }) => msg === 'upstream refuses a repository')).toMatchObject([
      { upstream: 'bad', repository: 'library/app', reason: 'answered 403' },
    ])
  })

  test('a blob shorter than its manifest says is found out before the client sees anything', async () => {
    bad.fault = onBlobs({ kind: 'short' })
    worse.fault = onBlobs({ kind: 'long' })
    await mirror.manifest('library/app', 'v1')

    const got = await mirror.blob('library/app', content.layer)

    expect(got).toMatchObject({ status: 200, digest: content.layer, headers: { 'x-cache-source': 'hub' } })
    expect(got.headers['content-length']).toBe(String(SIZE))
  })

  const onBlobs = (fault: Fault) => (request: { path: string; method: string }) =>
    request.path.includes('/blobs/') && request.method === 'GET' ? fault : undefined

  test.each<[string, Fault]>([
    ['cut at 30 %', { kind: 'cut', after: Math.floor(SIZE * 0.3) }],
    ['stalled at 30 %', { kind: 'stall', after: Math.floor(SIZE * 0.3) }],
    ['sending HTML', { kind: 'html' }],
    ['answering 500', { kind: 'status', status: 500 }],
    ['answering 429', { kind: 'status', status: 429 }],
    ['answering 402', { kind: 'status', status: 402 }],
    ['answering 403', { kind: 'status', status: 403 }],
    ['answering 404', { kind: 'status', status: 404 }],
    ['resetting', { kind: 'reset' }],
    ['silent', { kind: 'hang' }],
    ['compressing', { kind: 'gzip' }],
    ['ending early', { kind: 'cut', after: SIZE - 10 }],
  ])('a blob comes right and uninterrupted with both mirrors %s', async (_what, fault) => {
    bad.fault = onBlobs(fault)
    worse.fault = onBlobs(fault)

    const got = await mirror.blob('library/app', content.layer)

    expect(got).toMatchObject({ status: 200, digest: content.layer, bytes: SIZE })
  })

  test('what a mirror has sent before it was cut is not asked for again', async () => {
    bad.fault = onBlobs({ kind: 'cut', after: 2 * MIB })

    await mirror.blob('library/app', content.layer)

    const sent = [bad, worse, hub].map((upstream) => upstream.count(/GET .*blobs/) && upstream.contentBytesSent)
    expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(SIZE * 1.1)
  })

  test('a byte flipped by the mirrors: the connection is reset before the end, and the next pull is right', async () => {
    bad.fault = onBlobs({ kind: 'flip', at: 100 })
    worse.fault = onBlobs({ kind: 'flip', at: 200 })
    bad.bytesPerSecond = 6 * MIB

    await expect(mirror.blob('library/app', content.layer)).rejects.toThrow()

    expect(await mirror.blob('library/app', content.layer)).toMatchObject({ status: 200, digest: content.layer })
    const { upstreams } = await mirror.stats()
    expect(upstreams.find(({ name }) => name === 'bad')?.state).toBe('quarantined')
  })

  test.each<[string, Fault]>([
    ['HTML', { kind: 'html' }],
    ['500', { kind: 'status', status: 500 }],
    ['401', { kind: 'status', status: 401 }],
    ['404', { kind: 'status', status: 404 }],
    ['silence', { kind: 'hang' }],
  ])('a manifest by digest comes from the origin when the mirrors give %s', async (_what, fault) => {
    bad.fault = () => fault
    worse.fault = () => fault

    const got = await mirror.manifest('library/app', content.manifest)

    expect(got).toMatchObject({ status: 200, digest: content.manifest, headers: { 'x-cache-source': 'hub' } })
  })

  test('a mirror that is down costs the first request its connect, and the next ones nothing', async () => {
    await bad.stop()

    await mirror.manifest('library/app', content.manifest)
    const got = await mirror.blob('library/app', content.layer)

    expect(got).toMatchObject({ digest: content.layer, headers: { 'x-cache-source': 'worse' } })
    expect((await mirror.stats()).upstreams.find(({ name }) => name === 'bad')?.state).toBe('open')
  })

  test('everybody down: 503 in the OCI body with what each did, and no word of the upstreams', async () => {
    for (const upstream of [bad, worse, hub]) await upstream.stop()

    const got = await mirror.manifest('library/app', 'v1')

    expect(got.status).toBe(503)
    const [error] = JSON.parse(got.text).errors
    expect(error.code).toBe('UNAVAILABLE')
    expect(JSON.stringify(error)).not.toContain('127.0.0.1')
  })

  test('everybody limited: 429 with Retry-After', async () => {
    for (const upstream of [bad, worse, hub])
      upstream.fault = () => ({ kind: 'status', status: 429, headers: { 'retry-after': '7' } })

    const got = await mirror.manifest('library/app', content.manifest)

    expect(got.status).toBe(429)
    expect(Number(got.headers['retry-after'])).toBeGreaterThan(0)
    expect(Number(got.headers['retry-after'])).toBeLessThanOrEqual(7)
  })

  test('what cannot be completed is a reset connection, never a clean short end', async () => {
    for (const upstream of [bad, worse, hub]) upstream.fault = onBlobs({ kind: 'cut', after: MIB })
    for (const upstream of [bad, worse, hub])
      upstream.fault = (request) =>
        request.range ? { kind: 'status', status: 500 } : onBlobs({ kind: 'cut', after: MIB })(request)

    await expect(mirror.blob('library/app', content.layer)).rejects.toThrow()
  })
})
