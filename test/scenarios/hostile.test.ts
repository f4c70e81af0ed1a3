import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { startBlackHole } from '../helpers/black-hole.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const SHARED = { kind: 'status', status: 404 } as const

describe('one origin', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  const start = async (storage?: string) => {
    mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
      settings: { storage: { maxSize: '10MiB', memory: '0B' }, upstream: { firstHeaderBudget: '2s' } },
      ...(storage ? { storage } : {}),
    })
  }
  beforeEach(async () => {
    hub = await startUpstream()
  })
  afterEach(closeAll)

  test.each<[string, number]>([
    ['as long as the blob', 0],
    ['longer than the blob', 5],
  ])('a damaged part file %s is thrown away at the origin’s 416, which is held against nobody', async (_what, more) => {
    const digest = hub.addBlob(MIB)
    const storage = await mkdtemp(join(tmpdir(), 'hostile-'))
    closing({ close: () => rm(storage, { recursive: true, force: true }) })
    await mkdir(join(storage, 'data/fills'), { recursive: true })
    await writeFile(join(storage, 'data/fills', `${digest.replace(':', '-')}.part`), randomBytes(MIB + more))
    await start(storage)

    const got = await mirror.blob('library/app', digest)

    expect(got).toMatchObject({ status: 200, digest })
    expect((await mirror.stats()).upstreams).toMatchObject([{ state: 'up', errors: 0 }])
  })

  test('an empty body in place of the blob ends in an error, not in asking for ever', async () => {
    const digest = hub.addBlob(MIB)
    hub.fault = ({ path }) => (path.includes('/blobs/') ? { kind: 'status', status: 200 } : undefined)
    await start()

    const got = await mirror.blob('library/app', digest)

    expect(got.status).toBe(503)
    expect(hub.count(/blobs/)).toBeLessThan(5)
  })

  test('a blob without a length that outgrows the cache is passed on and takes no more disk than the cache may', async () => {
    const content = randomBytes(24 * MIB)
    const digest = hub.addBlob(content)
    hub.fault = () => ({ kind: 'chunked' })
    await start()

    const got = await mirror.blob('library/app', digest)

    expect(got).toMatchObject({ status: 200, digest })
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
    expect((await mirror.stats()).cache).toMatchObject({ blobs: 0, evictions: 0 })
  })

  test('whoever asks in a repository that has a blob does not share the 404 of one that has not', async () => {
    const digest = hub.addBlob(MIB)
    await start()
    hub.fault = ({ path }) => (path.includes('library/other/') ? SHARED : undefined)

    const answers = await Promise.all(
      ['library/other', 'library/app', 'library/other', 'library/app'].map((name) => mirror.blob(name, digest)),
    )

    expect(answers.map(({ status }) => status)).toEqual([404, 200, 404, 200])
    expect(hub.count(/GET .*library\/app\/blobs/)).toBe(1)
  })

  test('two GETs written at once are answered in order, and leave nothing open when the client goes', async () => {
    const digests = [hub.addBlob(4 * MIB), hub.addBlob(4 * MIB)]
    await start()
    for (const digest of digests) await mirror.blob('library/app', digest)
    await expect.poll(() => readdir(join(mirror.storage, 'data/fills'))).toEqual([])
    const socket = connect(Number(new URL(mirror.url).port), '127.0.0.1')
    for (const digest of digests) socket.write(`GET /v2/library/app/blobs/${digest} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await new Promise((resolve) => socket.once('data', resolve))
    socket.pause()

    socket.destroy()

    await expect.poll(() => openFiles(mirror)).toEqual([])
  })

  test('a token service that hangs costs the client no more than the budget, for tags as for blobs', async () => {
    const hole = closing(await startBlackHole())
    const closed = await startUpstream({ auth: { kind: 'bearer', realm: `${hole.url}/token` } })
    closed.addImage('library/app', 'v1', { layers: [100] })
    mirror = await startMirror({
      registries: {
        'docker.io': registry([
          { name: 'mirror', url: closed.url, resolve: 'always' },
          { name: 'hub', url: closed.url, role: 'origin' },
        ]),
      },
      settings: {
        upstream: { timeouts: { connect: '10s', firstByte: '10s', idle: '10s' }, firstHeaderBudget: '500ms' },
      },
    })
    const beganAt = performance.now()

    const got = await Promise.all([
      mirror.manifest('library/app', 'v1'),
      mirror.manifest('library/app', digestOf(randomBytes(1))),
      mirror.blob('library/app', digestOf(randomBytes(1))),
      mirror.head(`/v2/library/app/blobs/${digestOf(randomBytes(1))}`),
      mirror.get('/v2/library/app/tags/list'),
      mirror.get(`/v2/library/app/referrers/${digestOf(randomBytes(1))}`),
    ])

    expect(got.map(({ status }) => status)).toEqual([503, 503, 503, 503, 503, 503])
    // Far from the limit of the service itself, and from one budget after the other.
    expect(performance.now() - beganAt).toBeLessThan(5000)
  })
})

/** Files of the cache that this process holds open. */
async function openFiles({ storage }: Mirror): Promise<string[]> {
  const { readlink } = await import('node:fs/promises')
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((link) => /\/(blobs|fills)\//.test(link) && link.startsWith(storage))
}
