import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from '@photostructure/sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { pushContents, pusher } from '../helpers/push.js'
import { closeAll } from '../helpers/upstream.js'

const PAGE = 4096

/** Everything that a client can see of what was pushed. */
async function seen({ get, manifest, stats }: Pick<Mirror, 'get' | 'manifest' | 'stats'>, paths: string[]) {
  const answers: unknown[] = []
  for (const path of paths) {
    const { status, digest } = await get(path)
    answers.push([path, status, digest])
  }
  answers.push((await manifest('local/app', 'v1')).headers['docker-content-digest'])
  // What was counted is kept in the index alone.
  const { repositories, tags, sizeBytes } = (await stats()).local
  return { answers, local: { repositories, tags, sizeBytes } }
}

describe('index.db', () => {
  let mirror: Mirror
  let paths: string[]
  let before: Awaited<ReturnType<typeof seen>>
  const index = () => join(mirror.storage, 'data', 'index.db')
  const start = (storage?: string, maxSize = '1GiB') =>
    startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: 'http://127.0.0.1:9', role: 'origin' }]) },
      settings: { storage: { memory: '0B', maxSize } },
      ...(storage && { storage }),
    })
  const see = () =>
    seen(
      { get: mirror.get.bind(mirror), manifest: mirror.manifest.bind(mirror), stats: mirror.stats.bind(mirror) },
      paths,
    )

  beforeEach(async () => {
    mirror = await start()
    const push = pusher(mirror.url)
    const content = await pushContents(push, 'local/app', ['one layer', 'another'])
    await push.manifest('local/app', 'v1', content)
    const subject = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: digestOf(content),
      size: content.length,
    }
    const signature = await pushContents(push, 'local/app', ['signature'], { subject })
    await push.manifest('local/app', digestOf(signature), signature)
    for (let n = 0; n < 40; n++) await push.blob('local/deep/er', Buffer.from(`${n}`))
    paths = [
      '/v2/_catalog',
      '/v2/local/app/tags/list',
      '/v2/local/app/manifests/v1',
      `/v2/local/app/manifests/${digestOf(signature)}`,
      `/v2/local/app/referrers/${subject.digest}`,
      `/v2/local/app/blobs/${digestOf(Buffer.from('one layer'))}`,
      `/v2/local/deep/er/blobs/${digestOf(Buffer.from('7'))}`,
    ]
    before = await see()
    expect(before.answers.filter((answer) => Array.isArray(answer) && answer[1] === 200)).toHaveLength(7)
    await mirror.close()
  })
  afterEach(closeAll)

  test.each<[string, (file: string, bytes: Buffer) => Promise<void>]>([
    ['deleted', (file) => rm(file)],
    ['emptied', (file) => writeFile(file, '')],
    ['cut in the middle', (file, bytes) => writeFile(file, bytes.subarray(0, bytes.length / 2))],
    ['cut in the middle of a page', (file, bytes) => writeFile(file, bytes.subarray(0, bytes.length - PAGE / 2))],
    ['garbage', (file, bytes) => writeFile(file, randomBytes(bytes.length))],
    [
      'gone, with a log of garbage beside it',
      (file) => rm(file).then(() => writeFile(`${file}-wal`, randomBytes(5000))),
    ],
  ])('%s: everything that was pushed is there, and is kept', async (_case, damage) => {
    await damage(index(), await readFile(index()))

    mirror = await start(mirror.storage)

    expect(await see()).toEqual(before)
  })

  describe('that lacks what was pushed last', () => {
    const layer = randomBytes(3_000_000)
    const path = `/v2/local/app/blobs/${digestOf(layer)}`
    const change = (sql: string) => {
      const db = new DatabaseSync(index())
      db.exec(sql)
      db.close()
    }

    test('since the power failed: nothing of it is evicted, though the cache is too large', async () => {
      mirror = await start(mirror.storage)
      await pusher(mirror.url).blob('local/app', layer)
      await mirror.close()
      await rm(`${index()}.clean`)
      // As it was before the push: the cache had the layer. A row is missing, too, so that the log tells the end.
      change(`UPDATE blobs SET cached = 1, pushed = 0, used_at = 1 WHERE digest = '${digestOf(layer)}'`)
      change(`DELETE FROM blobs WHERE digest = '${digestOf(Buffer.from('one layer'))}'`)

      mirror = await start(mirror.storage, '1MiB')
      await expect.poll(() => mirror.log.map(({ msg }) => msg)).toContain('index brought in line with the stored files')

      await mirror.close()
      expect(mirror.log.map(({ msg }) => msg)).not.toContain('cache evicted')
      mirror = await start(mirror.storage, '1MiB')
      expect(await mirror.get(path)).toMatchObject({ status: 200, digest: digestOf(layer) })
    })

    test('since it could not be written then: nothing of it is evicted, and all is served', async () => {
      change(`INSERT INTO blobs VALUES ('${digestOf(layer)}', ${layer.length}, 0, 1, 0, 'hub', 1)`)
      await rename(index(), `${index()}.away`)
      // SQLite cannot open it, as on a full disk.
      await mkdir(index())
      mirror = await start(mirror.storage)
      const push = pusher(mirror.url)
      await push.blob('local/app', layer)
      const own = await push.blob('local/app', Buffer.from('known to no index'))
      await mirror.close()
      await rmdir(index())
      await rename(`${index()}.away`, index())

      mirror = await start(mirror.storage, '1MiB')
      await expect.poll(() => mirror.log.map(({ msg }) => msg)).toContain('index brought in line with the stored files')

      expect(await mirror.get(`/v2/local/app/blobs/${own}`)).toMatchObject({ status: 200, digest: own })
      expect(await mirror.get(path)).toMatchObject({ status: 200, digest: digestOf(layer) })
    })
  })

  test('damaged in any of its pages: the same, and pushes go on', async () => {
    const whole = await readFile(index())
    const pages = whole.length / PAGE
    expect(pages).toBeGreaterThan(3)
    for (let page = 0; page < pages; page++) {
      const damaged = Buffer.from(whole)
      randomBytes(PAGE).copy(damaged, page * PAGE)
      for (const suffix of ['-wal', '-shm']) await rm(index() + suffix, { force: true })
      await writeFile(index(), damaged)

      mirror = await start(mirror.storage)
      const after = await see()
      await pusher(mirror.url).blob('local/app', Buffer.from('one layer'))
      await mirror.close()

      expect({ page, ...after }).toEqual({ page, ...before })
    }
  })
})
