import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { Eviction } from '../../src/cache/eviction.js'
import { HotContent } from '../../src/cache/hot-content.js'
import { type CachedManifest, ManifestCache } from '../../src/cache/manifest-cache.js'
import { PartFolder } from '../../src/cache/part-folder.js'
import { EventBus } from '../../src/events.js'
import { Complaint } from '../../src/lib/complaint.js'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

const NAME = 'docker.io/library/app'

function manifestOf(text: string): CachedManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, text }))
  return { digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociManifest, bytes, source: 'hub' }
}

test('to look at a manifest does not count as using it, and to get it does', async () => {
  const folder = await temporaryFolder()
  let now = 1000
  const storage = await openStorage(folder.path, () => now++)
  await mkdir(join(folder.path, 'fills'))
  const parts = await PartFolder.open(join(folder.path, 'fills'))
  const events = new EventBus({ onListenerError: (error) => expect.unreachable(String(error)) })
  const common = { ...storage, hot: new HotContent({ memoryBytes: 0 }), events, log: pino({ level: 'silent' }) }
  const eviction = new Eviction({
    ...common,
    parts,
    maxSizeBytes: 1_000_000,
    lowWatermark: 1,
    trusted: Promise.resolve(),
  })
  const manifests = new ManifestCache({ ...common, trouble: new Complaint(), eviction })
  const [one, other] = [manifestOf('one'), manifestOf('other')]
  const oldest = () => {
    storage.index.flush()
    return storage.index.leastRecentlyUsed(1)[0]!.digest
  }
  try {
    for (const manifest of [one, other]) {
      manifests.put(NAME, manifest)
      await manifests.stop()
    }

    const looked = await manifests.peek(NAME, one.digest)
    const afterLook = oldest()
    await manifests.get(NAME, one.digest)

    expect(looked).toMatchObject({ digest: one.digest, mediaType: MEDIA_TYPES.ociManifest, source: 'hub' })
    expect(afterLook).toBe(one.digest)
    expect(oldest()).toBe(other.digest)
  } finally {
    await eviction.stop()
    storage.index.close()
    await folder.remove()
  }
})
