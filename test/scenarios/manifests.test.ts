import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024

describe('a manifest read through', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  beforeEach(async () => {
    hub = await startUpstream()
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    })
  })
  afterEach(closeAll)

  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(Buffer.from('c')), size: 1 }
  const bodies: Record<string, object> = {
    [MEDIA_TYPES.dockerManifest]: { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerManifest, config, layers: [] },
    [MEDIA_TYPES.dockerList]: { schemaVersion: 2, mediaType: MEDIA_TYPES.dockerList, manifests: [] },
    [MEDIA_TYPES.ociManifest]: { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers: [] },
    [MEDIA_TYPES.ociIndex]: { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [] },
    [MEDIA_TYPES.ociArtifact]: { mediaType: MEDIA_TYPES.ociArtifact, artifactType: 'application/x', blobs: [] },
    [MEDIA_TYPES.dockerSchema1]: { schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [] },
    'application/vnd.example.unheard-of.v9+json': { anything: { goes: ['here'] } },
  }

  test.each(Object.entries(bodies))(
    'of type %s keeps type, bytes and digest, cold, warm and by HEAD',
    async (mediaType, body) => {
      const digest = hub.addManifest('library/app', body, { mediaType, tags: ['v1'] })

      const cold = await mirror.manifest('library/app', 'v1')
      const warm = await mirror.manifest('library/app', digest)
      const head = await mirror.head('/v2/library/app/manifests/v1')

      for (const got of [cold, warm, head]) {
        expect(got.headers).toMatchObject({ 'content-type': mediaType, 'docker-content-digest': digest })
        expect(got.headers['content-length']).toBe(String(JSON.stringify(body).length))
      }
      expect([cold.digest, warm.digest, head.bytes]).toEqual([digest, digest, 0])
    },
  )

  test('without a mediaType field keeps the type that the upstream gave it', async () => {
    const digest = hub.addManifest(
      'library/app',
      { schemaVersion: 2, config, layers: [] },
      {
        mediaType: MEDIA_TYPES.ociManifest,
        tags: ['v1'],
      },
    )

    expect((await mirror.manifest('library/app', 'v1')).headers['content-type']).toBe(MEDIA_TYPES.ociManifest)
    expect((await mirror.manifest('library/app', digest)).headers['content-type']).toBe(MEDIA_TYPES.ociManifest)
  })

  test('whose upstream names no digest gets the one that is computed', async () => {
    const digest = hub.addManifest('library/app', bodies[MEDIA_TYPES.ociIndex]!, { tags: ['v1'] })
    hub.fault = () => ({ kind: 'no-digest' })

    const head = await mirror.head('/v2/library/app/manifests/v1')

    expect(head).toMatchObject({ status: 200, headers: { 'docker-content-digest': digest } })
  })

  test('whose upstream names a wrong digest is refused, and nothing of it is kept', async () => {
    hub.addManifest('library/app', bodies[MEDIA_TYPES.ociIndex]!, { tags: ['v1'] })
    hub.fault = () => ({ kind: 'wrong-digest' })
    const refused = await mirror.manifest('library/app', 'v1')
    hub.fault = undefined

    expect(refused.status).toBe(503)
    expect((await mirror.manifest('library/app', 'v1')).status).toBe(200)
  })

  test('of nearly 8 MiB comes, one that is larger does not', async () => {
    const filler = (size: number) => ({ ...bodies[MEDIA_TYPES.ociIndex], annotations: { filler: 'x'.repeat(size) } })
    const large = hub.addManifest('library/app', filler(8 * MIB - 1000), { tags: ['large'] })
    hub.addManifest('library/app', filler(8 * MIB), { tags: ['larger'] })

    expect(await mirror.manifest('library/app', 'large')).toMatchObject({ status: 200, digest: large })
    expect((await mirror.manifest('library/app', 'larger')).status).toBe(503)
  })

  test('that is too large is no fault of its registry: whoever publishes some does not shut it out for others', async () => {
    const filler = { ...bodies[MEDIA_TYPES.ociIndex], annotations: { filler: 'x'.repeat(8 * MIB) } }
    for (const tag of ['a', 'b', 'c', 'd']) hub.addManifest('library/hostile', filler, { tags: [tag] })
    hub.addImage('library/app', 'v1', { layers: [10] })

    for (const tag of ['a', 'b', 'c', 'd']) await mirror.manifest('library/hostile', tag)

    expect((await mirror.stats()).upstreams).toMatchObject([{ name: 'hub', state: 'up' }])
    expect((await mirror.manifest('library/app', 'v1')).status).toBe(200)
  })

  test('by digest costs nothing once it is here, whoever asks by whatever Accept', async () => {
    const { manifest } = hub.addImage('library/app', 'v1', { layers: [10] })
    await mirror.manifest('library/app', manifest)
    const asked = hub.requests.length

    const path = `/v2/library/app/manifests/${manifest}`
    const got = await Promise.all(
      ['*/*', MEDIA_TYPES.dockerList, ''].map((accept) => mirror.get(path, accept ? { accept } : {})),
    )

    expect(got.map(({ digest }) => digest)).toEqual([manifest, manifest, manifest])
    expect(hub.requests.length).toBe(asked)
  })

  describe('tells how large its blobs are', () => {
    const headOf = (digest: string, repository = 'library/app') => mirror.head(`/v2/${repository}/blobs/${digest}`)

    test('F39, F102: a HEAD of one that is not here asks nobody, and says no more than GET does', async () => {
      const { layers, config } = hub.addImage('library/app', 'v1', { layers: [1234] })
      await mirror.manifest('library/app', 'v1')
      const asked = hub.requests.length

      const heads = [await headOf(layers[0]!), await headOf(config)]

      expect(heads.map(({ status }) => status)).toEqual([200, 200])
      expect(heads[0]!.headers).toMatchObject({ 'content-length': '1234', 'docker-content-digest': layers[0] })
      expect(hub.requests.length).toBe(asked)
      expect((await mirror.blob('library/app', layers[0]!)).bytes).toBe(1234)
    })

    test('also after a restart, when it is asked for again, and stale', async () => {
      const { layers } = hub.addImage('library/app', 'v1', { layers: [1234] })
      await mirror.manifest('library/app', 'v1')
      await mirror.close()
      await hub.stop()
      mirror = await startMirror({
        registries: {
          'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }], { tags: { ttl: '0s' } }),
        },
        storage: mirror.storage,
      })

      const before = await headOf(layers[0]!)
      const stale = await mirror.manifest('library/app', 'v1')

      expect(before.status).toBe(503)
      expect(stale).toMatchObject({ status: 200, headers: { 'x-cache': 'stale' } })
      expect(await headOf(layers[0]!)).toMatchObject({ status: 200, headers: { 'content-length': '1234' } })
    })

    test('in its own repository only, and not of foreign layers', async () => {
      const layer = hub.addBlob(77)
      const foreign = digestOf(Buffer.from('elsewhere'))
      const layers = [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layer, size: 78 },
        { mediaType: 'application/x', digest: foreign, size: 9, urls: ['https://elsewhere.example/layer'] },
      ]
      hub.addManifest('library/app', { ...bodies[MEDIA_TYPES.ociManifest], layers }, { tags: ['v1'] })
      await mirror.manifest('library/app', 'v1')

      expect((await headOf(layer, 'library/other')).headers['content-length']).toBe('77')
      expect((await headOf(foreign)).status).toBe(404)
    })

    test('and one that the origin turned out not to have is 404 by HEAD as by GET', async () => {
      hub.addManifest('library/app', bodies[MEDIA_TYPES.ociManifest]!, { tags: ['v1'] })
      await mirror.manifest('library/app', 'v1')
      await mirror.blob('library/app', config.digest)

      expect((await headOf(config.digest)).status).toBe(404)
    })
  })

  test('If-None-Match with its digest is a 304', async () => {
    const { manifest } = hub.addImage('library/app', 'v1', { layers: [10] })

    const got = await mirror.get('/v2/library/app/manifests/v1', { 'if-none-match': `"${manifest}"` })

    expect(got).toMatchObject({ status: 304, bytes: 0 })
  })

  test('lets its referrers be listed', async () => {
    const { manifest, size } = hub.addImage('library/app', 'v1', { layers: [10] })
    const subject = { mediaType: MEDIA_TYPES.ociManifest, digest: manifest, size }
    const signature = { ...bodies[MEDIA_TYPES.ociManifest], artifactType: 'application/x-signature', subject }
    const digest = hub.addManifest('library/app', signature)

    const got = await mirror.get(`/v2/library/app/referrers/${manifest}?artifactType=application/x-signature`)

    expect(got).toMatchObject({ status: 200, headers: { 'content-type': MEDIA_TYPES.ociIndex } })
    expect(JSON.parse(got.text).manifests).toMatchObject([{ digest, artifactType: 'application/x-signature' }])
  })
})
