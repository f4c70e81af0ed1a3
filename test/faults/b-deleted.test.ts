import { beforeAll, expect, test } from 'vitest'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { fetchManifest, headTag, PullError, pull } from './client.js'
import { copyImage, deleteImage, type Image } from './content.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'b-deleted', upstreams: ['hub'] })
/** What `hub` stands in front of; that of the stage keeps what is deleted here. */
let registry: RegistryUpstream

beforeAll(async () => {
  registry = await stage.addRegistry('deleting')
  stage.proxy('hub').target = registry.url
})

/** Beyond the default TTL of tags, and beyond what a 404 is remembered for. */
const TTL_OVER_MS = 6 * 60_000

const restored = (image: Image) => copyImage(stage.registry.url, registry.url, image)

test('F35 an upstream deletes a tag: the copy is served on, whole and marked stale', async () => {
  const image = await stage.image()
  await restored(image)
  const mirror = await stage.mirror()
  await pull(mirror.url, image)
  await deleteImage(registry.url, image)
  await mirror.later(TTL_OVER_MS)

  const tag = await headTag(mirror.url, image)
  const pulled = await pull(mirror.url, image)

  expect(stage.proxy('hub').asked.at(-1)).toMatchObject({ reference: 'latest', status: 404 })
  expect(tag.cache).toBe('stale')
  expect(tag.headers.warning).toContain('no upstream has it any more')
  expect([pulled.manifest, pulled.config, ...pulled.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])

  await restored(image)
  await mirror.later(TTL_OVER_MS)
  expect((await headTag(mirror.url, image)).cache).toBe('hit')
})

test('F35 an upstream deletes a tag that is to be forgotten then: 404 to all, and by its digest the image is whole', async () => {
  const image = await stage.image()
  await restored(image)
  const mirror = await stage.mirror({ registry: { tags: { whenGone: 'forget' } } })
  await pull(mirror.url, image)
  await deleteImage(registry.url, image)
  await mirror.later(TTL_OVER_MS)
  const path = `/v2/${image.repository}/manifests/latest`

  const refused = [
    await headTag(mirror.url, image).catch((error: unknown) => error),
    await fetchManifest(mirror.url, image).catch((error: unknown) => error),
  ]
  const digest = await pull(mirror.url, { ...image, tag: image.digest })

  for (const refusal of refused) expect(refusal).toBeInstanceOf(PullError)
  expect(refused.map((refusal) => (refusal as PullError).reading.status)).toEqual([404, 404])
  expect(JSON.parse((await mirror.read(path)).text)).toMatchObject({ errors: [{ code: 'MANIFEST_UNKNOWN' }] })
  expect([digest.manifest, digest.config, ...digest.layers].map(({ cache }) => cache)).toEqual(['hit', 'hit', 'hit'])

  await restored(image)
  await mirror.later(TTL_OVER_MS)
  await pull(mirror.url, image)
  expect((await headTag(mirror.url, image)).cache).toBe('hit')
})
