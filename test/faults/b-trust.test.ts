import { beforeAll, expect, test } from 'vitest'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import type { RegistryUpstream } from '../helpers/registry-upstream.js'
import { fetchManifest, headTag, pull } from './client.js'
import { copyImage, type Image } from './content.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'b-trust', upstreams: ['a', 'hub', 'second'] })
/** What `a` and `second` stand in front of: other content than that of `hub`. */
let lagging: RegistryUpstream

beforeAll(async () => {
  lagging = await stage.addRegistry('lagging')
  for (const name of ['a', 'second'] as const) stage.proxy(name).target = lagging.url
})

const MINUTE_MS = 60_000
/** Beyond the default TTL of tags, and beyond every cool-down. */
const TTL_OVER_MS = 6 * MINUTE_MS

const tagRequests = ({ asked }: FaultProxy) => asked.filter(({ reference }) => reference === 'latest')
const carried = (image: Image, tag?: string) => copyImage(stage.registry.url, lagging.url, image, tag)

/** A tag that has moved, which the lagging registry has all of, but as it was. */
async function moved(repository: string): Promise<{ old: Image; fresh: Image }> {
  const old = await stage.image({ repository })
  await carried(old)
  const fresh = await stage.image({ repository })
  await carried(fresh, 'under-another-tag')
  return { old, fresh }
}

test('F29 a quick mirror has an old digest of a tag: the origin’s is served, and its layers by the mirror', async () => {
  const repository = 'library/moved'
  const { old, fresh } = await moved(repository)
  const [a, hub] = [stage.proxy('a'), stage.proxy('hub')]
  const mirror = await stage.mirror({ upstreams: ['a', 'hub'] })

  const pulled = await pull(mirror.url, fresh)
  await hub.setDoor('shut')
  await mirror.later(TTL_OVER_MS)
  const held = await fetchManifest(mirror.url, fresh)

  expect((await fetchManifest(lagging.url, old)).digest).not.toBe(fresh.digest)
  expect(pulled.layers[0]!.source).toBe('a')
  expect(held.cache).toBe('stale')
  expect(tagRequests(a)).toEqual([])

  await hub.setDoor('open')
  await mirror.later(TTL_OVER_MS)
  await mirror.untilBack('hub')
  const newest = await stage.image({ repository })
  await carried(newest)
  expect((await pull(mirror.url, newest)).layers[0]!.source).toBe('a')
  expect(tagRequests(a)).toEqual([])
})

test('F30 two origins give different digests for a tag: their order decides, and the difference is counted and logged', async () => {
  const { old, fresh } = await moved('library/differs')
  const hub = stage.proxy('hub')
  const origins = (['hub', 'second'] as const).map((name) => stage.entry(name, { role: 'origin' }))
  const mirror = await stage.mirror({ upstreams: origins })
  const diverged = async () => (await mirror.stats()).tags.diverged

  await hub.setDoor('shut')
  expect((await headTag(mirror.url, old)).source).toBe('second')
  await hub.setDoor('open')
  await mirror.later(TTL_OVER_MS)
  await mirror.untilBack('hub')
  const pulled = await pull(mirror.url, fresh)

  expect(pulled.manifest.digest).toBe(fresh.digest)
  await expect.poll(diverged).toBe(1)
  expect(mirror.log.filter(({ msg }) => msg === 'upstreams differ on what a tag is')).toMatchObject([
    {
      tag: 'latest',
      digest: fresh.digest,
      words: [
        { upstream: 'hub', digest: fresh.digest },
        { upstream: 'second', digest: old.digest },
      ],
    },
  ])
  const again = await stage.mirror({ upstreams: origins })
  await pull(again.url, fresh)

  // Both say the same from now on, whichever is asked.
  await carried(fresh)
  for (const asked of ['second', 'hub'] as const) {
    await hub.setDoor(asked === 'hub' ? 'open' : 'shut')
    await mirror.later(TTL_OVER_MS)
    await mirror.untilBack(asked)
    expect((await pull(mirror.url, fresh)).manifest.digest).toBe(fresh.digest)
  }
  expect(await diverged()).toBe(1)
})
