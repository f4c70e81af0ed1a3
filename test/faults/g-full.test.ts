import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { run } from '../helpers/process.js'
import { digestOfBody, pushContents, pusher } from '../helpers/push.js'
import { filesBelow } from '../helpers/stored-files.js'
import { type Pulled, pull } from './client.js'
import { useStage } from './stage.js'

const MIB = 1024 * 1024

const stage = useStage({ name: 'g-full', upstreams: ['hub'] })

/** A mirror whose content lies on a file system of its own. */
async function onDisk(name: string, { sizeMib, minFree }: { sizeMib: number; minFree: string }) {
  const disk = join(stage.folder, name)
  await mkdir(disk)
  await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', disk])
  const settings = { storage: { path: join(disk, 'data'), maxSize: '1GiB' }, local: { minFree } }
  const mirror = await stage.mirror({ settings })
  return { disk, mirror, push: pusher(mirror.url) }
}

/** Leaves not a block. */
async function fillUp(disk: string): Promise<void> {
  const file = await open(join(disk, 'filler'), 'a')
  try {
    for (let bytes = MIB; bytes >= 4096; ) {
      const fits = await file.write(Buffer.alloc(bytes, 1)).then(
        ({ bytesWritten }) => bytesWritten === bytes,
        () => false,
      )
      if (!fits) bytes /= 2
    }
  } finally {
    await file.close()
  }
}

const outcomes = ({ layers }: Pulled) => layers.map(({ cache }) => cache)

test('what was fetched makes way for what is pushed, unless all of it would not be enough', async () => {
  const image = await stage.image({ layers: [16 * MIB, 16 * MIB] })
  const { mirror, push } = await onDisk('cached', { sizeMib: 64, minFree: '8MiB' })
  await pull(mirror.url, image)
  await expect.poll(async () => outcomes(await pull(mirror.url, image))).toEqual(['hit', 'hit'])

  const tooLarge = await push.patch(await push.begin('local/app'), randomBytes(60 * MIB))
  const kept = outcomes(await pull(mirror.url, image))
  const announced = await push.blob('local/app', randomBytes(30 * MIB))
  const streamed = randomBytes(20 * MIB)
  const upload = await push.begin('local/app')
  const patched = await push.patch(upload, new Blob([streamed]).stream())
  const finished = await push.finish(upload, digestOf(streamed))

  expect([tooLarge.status, kept]).toEqual([507, ['hit', 'hit']])
  expect([patched.status, finished.status]).toEqual([202, 201])
  for (const digest of [announced, digestOf(streamed)]) {
    expect(await digestOfBody(await push.send('GET', `/v2/local/app/blobs/${digest}`))).toBe(digest)
  }
  expect((await mirror.stats()).cache.sizeBytes).toBeLessThan(17 * MIB)
  await pull(mirror.url, image)
})

test('a manifest and a tag that the disk has no room for are answered 507, and logged with the reason', async () => {
  const { disk, mirror, push } = await onDisk('manifests', { sizeMib: 16, minFree: '0B' })
  const [one, two] = [await pushContents(push, 'local/app', ['one']), await pushContents(push, 'local/app', ['two'])]
  await push.manifest('local/app', 'v1', one)
  await fillUp(disk)

  const refused = await push.manifest('local/app', 'v2', two)
  const moved = await push.manifest('local/app', 'v3', one)

  expect([refused.status, moved.status]).toEqual([507, 507])
  const logged = () => mirror.log.filter(({ level, status }) => level === 'warn' && status === 507)
  await expect.poll(logged).toMatchObject([
    { method: 'PUT', path: '/v2/local/app/manifests/v2', reason: expect.stringMatching(/full/) },
    { method: 'PUT', path: '/v2/local/app/manifests/v3', reason: expect.stringMatching(/full/) },
  ])
  expect((await push.send('GET', '/v2/local/app/manifests/v3')).status).toBe(404)
})

test('uses that cannot be noted, the disk being full, fail no request', async () => {
  const { disk, mirror, push } = await onDisk('uses', { sizeMib: 16, minFree: '0B' })
  const manifest = await pushContents(push, 'local/app', ['one'])
  await push.manifest('local/app', 'v1', manifest)
  await fillUp(disk)

  const pulled = await push.send('GET', '/v2/local/app/manifests/v1')
  const statuses = new Set<number>()
  for (let n = 0; n < 1100; n++) {
    const digest = digestOf(Buffer.from(String(n)))
    statuses.add((await push.send('HEAD', `/v2/local/app/blobs/${digest}`)).status)
  }

  expect(await digestOfBody(pulled)).toBe(digestOf(manifest))
  expect([...statuses]).toEqual([404])
  expect(mirror.log.filter(({ msg }) => msg === 'request failed')).toEqual([])
})

test('an index is deleted on a full disk, and what only it listed is marked as garbage', async () => {
  const { disk, mirror, push } = await onDisk('deleted', { sizeMib: 16, minFree: '0B' })
  const child = await pushContents(push, 'local/app', ['one'])
  await push.manifest('local/app', digestOf(child), child)
  const described = { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(child), size: child.length }
  const index = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [described] })
  const digest = digestOf(Buffer.from(index))
  await push.manifest('local/app', digest, index, MEDIA_TYPES.ociIndex)
  await fillUp(disk)

  const deleted = await push.send('DELETE', `/v2/local/app/manifests/${digest}`)

  expect(deleted.status).toBe(202)
  expect((await push.send('GET', `/v2/local/app/manifests/${digest}`)).status).toBe(404)
  const links = (await filesBelow(join(disk, 'data'))).filter((file) => file.includes('_manifests'))
  const contents = await Promise.all(links.map((file) => readFile(join(disk, 'data', file), 'utf8')))
  expect(contents).toEqual([expect.stringMatching(/orphanedAt/)])
  expect(mirror.log.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
})
