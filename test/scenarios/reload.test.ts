import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const ABSENT = `sha256:${'0'.repeat(64)}`

describe('another configuration while the server runs', () => {
  let hub: BuiltInUpstream
  let near: BuiltInUpstream
  let mirror: Mirror
  beforeEach(async () => {
    hub = await startUpstream()
    near = await startUpstream()
    mirror = await startMirror({ registries: dockerIo(asOrigin(hub)) })
  })
  afterEach(closeAll)

  const asOrigin = ({ url }: BuiltInUpstream) => ({ name: 'hub', url, role: 'origin' })
  const asMirror = ({ url }: BuiltInUpstream) => ({ name: 'near', url })
  const dockerIo = (...upstreams: object[]) => ({ 'docker.io': registry(upstreams as Record<string, unknown>[]) })
  const asked = async () => (await mirror.stats()).upstreams.map(({ registry, name }) => `${registry}/${name}`)

  /** A blob that both have, and its pull, of which some has come from the hub. */
  async function beginPull() {
    const bytes = Buffer.alloc(4 * MIB, 3)
    const digest = hub.addBlob(bytes)
    near.addBlob(bytes)
    hub.bytesPerSecond = 8 * MIB
    const pulled = mirror.blob('library/app', digest)
    await expect.poll(() => hub.contentBytesSent, { interval: 5 }).toBeGreaterThan(MIB / 2)
    return { digest, pulled }
  }

  test('a layer that is being fetched comes to its end from an upstream that is removed, and the next from the new one', async () => {
    const { digest, pulled } = await beginPull()
    const next = near.addBlob(1000)
    hub.addBlob(near.blob(next)!)

    await mirror.reload({ registries: dockerIo(asMirror(near)) })
    const { headers } = await mirror.blob('library/app', next)

    expect(headers['x-cache-source']).toBe('near')
    expect(await asked()).toEqual(['docker.io/near'])
    expect(await pulled).toMatchObject({ status: 200, digest, bytes: 4 * MIB })
    expect(hub.count(/blobs/)).toBe(1)
    await expect.poll(() => hub.connections()).toBe(0)
  })

  test('a layer that stalls at a removed upstream goes on at a new one, inside the same answer', async () => {
    const bytes = Buffer.alloc(2 * MIB, 3)
    const digest = hub.addBlob(bytes)
    near.addBlob(bytes)
    hub.fault = ({ range }) => (range ? { kind: 'reset' } : { kind: 'stall', after: MIB })
    const pulled = mirror.blob('library/app', digest)
    await expect.poll(() => hub.contentBytesSent, { interval: 5 }).toBe(MIB)

    await mirror.reload({ registries: dockerIo(asMirror(near)) })

    expect(await pulled).toMatchObject({ status: 200, digest, bytes: 2 * MIB })
    expect(near.requests).toMatchObject([{ range: `bytes=${MIB}-` }])
  })

  test('what a registry remembers outlives a change of another one', async () => {
    await mirror.blob('library/app', ABSENT)
    hub.addImage('library/app', 'v1', { layers: [] })
    await mirror.manifest('library/app', 'v1')
    const before = hub.requests.length

    await mirror.reload({ registries: { ...dockerIo(asOrigin(hub)), 'ghcr.io': { upstreams: [asMirror(near)] } } })

    expect((await mirror.blob('library/app', ABSENT)).status).toBe(404)
    expect((await mirror.manifest('library/app', 'v1')).headers['x-cache']).toBe('hit')
    expect(hub.requests).toHaveLength(before)
  })

  test('registries come and go', async () => {
    near.addImage('org/app', 'v1', { layers: [] })
    expect((await mirror.manifest('ghcr.io/org/app', 'v1')).status).toBe(404)
    await mirror.reload({ registries: { ...dockerIo(asOrigin(hub)), 'ghcr.io': { upstreams: [asMirror(near)] } } })
    expect((await mirror.manifest('ghcr.io/org/app', 'v1')).status).toBe(200)
    expect(await asked()).toEqual(['docker.io/hub', 'ghcr.io/near'])

    await mirror.reload({ registries: dockerIo(asOrigin(hub)) })

    const { status, text } = await mirror.manifest('ghcr.io/org/app', 'v1')
    expect([status, JSON.parse(text).errors[0].code]).toEqual([404, 'NAME_UNKNOWN'])
    expect(await asked()).toEqual(['docker.io/hub'])
  })

  test('the statistics of an upstream go on when its url changes', async () => {
    hub.addImage('library/app', 'v1', { layers: [] })
    await mirror.manifest('library/app', 'v1')
    const before = (await mirror.stats()).upstreams[0]!
    const { digest, pulled } = await beginPull()

    await mirror.reload({ registries: dockerIo({ ...asOrigin(near), name: 'hub' }) })
    expect((await pulled).digest).toBe(digest)
    await mirror.blob('library/app', near.addBlob(500))

    await expect
      .poll(async () => (await mirror.stats()).upstreams)
      .toMatchObject([
        { name: 'hub', requests: before.requests + 2, bytes: before.bytes + 4 * MIB + 500, errors: before.errors },
      ])
  })

  test('rules of tags are the new ones', async () => {
    hub.addImage('library/app', 'v1', { layers: [] })
    await mirror.manifest('library/app', 'v1')
    await mirror.manifest('library/app', 'v1')
    const before = hub.requests.length

    const tags = { rules: [{ match: 'v*', ttl: '0s' }] }
    await mirror.reload({ registries: { 'docker.io': registry([asOrigin(hub)], { tags }) } })
    await mirror.manifest('library/app', 'v1')

    expect(hub.asked.slice(before)).toEqual(['HEAD /v2/library/app/manifests/v1'])
  })

  test('pushes are opened and closed', async () => {
    const push = async () => {
      const headers = { 'x-forwarded-for': '192.0.2.1' }
      const { statusCode, body } = await request(`${mirror.url}/v2/local/app/blobs/uploads/`, {
        method: 'POST',
        headers,
      })
      await body.dump()
      return statusCode
    }
    const registries = dockerIo(asOrigin(hub))
    expect(await push()).toBe(403)

    await mirror.reload({ registries, settings: { auth: { anonymous: ['pull', 'push'] } } })
    expect(await push()).toBe(202)

    await mirror.reload({ registries })
    expect(await push()).toBe(403)
  })

  test('a lower cap has the cache shrink at once, and holds for what comes', async () => {
    const blobs = Array.from({ length: 4 }, () => hub.addBlob(MIB))
    for (const digest of blobs) await mirror.blob('library/app', digest)
    await expect.poll(async () => (await mirror.stats()).cache.sizeBytes).toBe(4 * MIB)

    await mirror.reload({
      registries: dockerIo(asOrigin(hub)),
      settings: { storage: { maxSize: '2MiB', lowWatermark: '50%' } },
    })

    await expect
      .poll(async () => (await mirror.stats()).cache)
      .toMatchObject({ blobs: 1, sizeBytes: MIB, maxSizeBytes: 2 * MIB })
    await mirror.blob('library/app', hub.addBlob(3 * MIB))
    await expect.poll(() => readdir(join(mirror.storage, 'data', 'fills'))).toEqual([])
    expect((await mirror.stats()).cache).toMatchObject({ blobs: 1, fills: 4 })
  })
})
