import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { blobKey } from '../../src/storage/layout.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { type Pusher, pushContents, pusher } from '../helpers/push.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher
let manifest: Buffer
let layer: Digest

beforeEach(async () => {
  folder = await temporaryFolder()
  server = await startLocalServer(folder.path)
  push = pusher(server.url)
  manifest = await pushContents(push, 'local/app', ['a layer', 'another'])
  layer = digestOf(Buffer.from('a layer'))
  await push.manifest('local/app', digestOf(manifest), manifest)
  // What was pushed just now is in memory still.
  await server.kill()
  server = await startLocalServer(folder.path)
  push = pusher(server.url)
})
afterEach(async () => {
  await server.kill()
  await folder.remove()
})

const status = async (path: string, method = 'HEAD') => (await push.send(method, `/v2/local/app/${path}`)).status
const cutShort = (digest: Digest) => truncate(join(folder.path, blobKey(digest)), 3)
const indexOf = (child: Buffer) =>
  JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(child), size: child.length }],
  })

describe('what the index does not know although a link says it', () => {
  test.each(['HEAD', 'GET'])('of a layer is learnt by a %s, and served', async (method) => {
    server.index.drop(layer, 'pushed')

    expect(await status(`blobs/${layer}`, method)).toBe(200)

    expect(server.index.find(layer)).toMatchObject({ size: 7, pushed: true })
    expect(await status(`blobs/${layer}`, 'GET')).toBe(200)
  })

  test('of a layer is learnt when a manifest names it', async () => {
    server.index.drop(layer, 'pushed')

    expect((await push.manifest('local/app', 'v1', manifest)).status).toBe(201)

    expect(server.index.find(layer)).toMatchObject({ pushed: true })
  })

  test('of a manifest is learnt when it is pulled', async () => {
    server.index.drop(digestOf(manifest), 'pushed')

    expect(await status(`manifests/${digestOf(manifest)}`)).toBe(200)

    expect(server.index.find(digestOf(manifest))).toMatchObject({ pushed: true })
  })

  test('since the cache has it, is kept for the push from then on', async () => {
    server.index.addCached({ digest: layer, size: 7, manifest: false })
    server.index.drop(layer, 'pushed')

    expect(await status(`blobs/${layer}`)).toBe(200)
    await server.store.evict(layer)

    expect(await status(`blobs/${layer}`, 'GET')).toBe(200)
  })
})

describe('a file that was cut short', () => {
  test.each(['HEAD', 'GET'])('is answered to a %s as absent, until the layer is pushed again', async (method) => {
    await cutShort(layer)
    expect(await status(`blobs/${layer}`, method)).toBe(404)

    await push.blob('local/app', Buffer.from('a layer'))

    expect(await status(`blobs/${layer}`, method)).toBe(200)
  })

  test('is told to whoever pushes a manifest that names it', async () => {
    await cutShort(layer)

    const response = await push.manifest('local/app', 'v1', manifest)

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      errors: [{ code: 'MANIFEST_BLOB_UNKNOWN', detail: { digest: layer } }],
    })
  })

  test('of a manifest is told to whoever pushes an index that lists it', async () => {
    await cutShort(digestOf(manifest))
    expect((await push.manifest('local/app', 'all', indexOf(manifest), MEDIA_TYPES.ociIndex)).status).toBe(400)

    await push.manifest('local/app', digestOf(manifest), manifest)

    expect((await push.manifest('local/app', 'all', indexOf(manifest), MEDIA_TYPES.ociIndex)).status).toBe(201)
  })
})
