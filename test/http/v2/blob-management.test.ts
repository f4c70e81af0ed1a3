import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/oci/digest.js'
import {
  blobKey,
  blobLinkKey,
  manifestLinkKey,
  manifestLinksPrefix,
  tagLinkKey,
  tagLinksPrefix,
} from '../../../src/storage/layout.js'
import {
  type LocalServer,
  type LocalServerOptions,
  startLocalServer,
  temporaryFolder,
} from '../../helpers/local-server.js'
import { digestOfBody, type Pusher, pushContents, pusher } from '../../helpers/push.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher

async function start(options: LocalServerOptions = {}) {
  server = await startLocalServer(folder.path, options)
  push = pusher(server.url)
}

beforeEach(async () => {
  folder = await temporaryFolder()
  await start()
})

afterEach(async () => {
  await server.kill()
  await folder.remove()
})

const at = (digest: string, repository = 'local/app') => `/v2/${repository}/blobs/${digest}`
const statusOf = async (method: string, path: string) => (await push.send(method, path)).status

describe('end-10: DELETE /v2/<name>/blobs/<digest>', () => {
  test('the blob is no more of this repository, and stays in others', async () => {
    const content = randomBytes(5000)
    const digest = await push.blob('local/app', content)
    await push.blob('local/other', content)

    expect(await statusOf('DELETE', at(digest))).toBe(202)

    expect([await statusOf('HEAD', at(digest)), await statusOf('GET', at(digest))]).toEqual([404, 404])
    expect(existsSync(join(folder.path, blobLinkKey('local/app', digest)))).toBe(false)
    expect(await digestOfBody(await push.send('GET', at(digest, 'local/other')))).toBe(digest)
    expect(server.told.at(-1)).toEqual({ name: 'blob.deleted', event: { repository: 'local/app', digest } })
    expect(await statusOf('DELETE', at(digest))).toBe(404)
  })

  test('pushed again, it is there again', async () => {
    const content = randomBytes(5000)
    const digest = await push.blob('local/app', content)
    await push.send('DELETE', at(digest))

    await push.blob('local/app', content)

    expect(await digestOfBody(await push.send('GET', at(digest)))).toBe(digest)
  })

  test('what a manifest of this repository names is refused until that is deleted', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', 'v1', manifest)
    const layer = digestOf(Buffer.from('one'))

    const refused = await push.send('DELETE', at(layer))

    expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    expect(await refused.json()).toMatchObject({
      errors: [{ code: 'DENIED', detail: { digest: layer, manifest: digestOf(manifest) } }],
    })
    expect(await statusOf('HEAD', at(layer))).toBe(200)
    await push.send('DELETE', `/v2/local/app/manifests/${digestOf(manifest)}`)
    expect(await statusOf('DELETE', at(layer))).toBe(202)
  })

  test.each([
    ['cannot be read', (file: string) => writeFile(file, '')],
    ['is gone', (file: string) => rm(file)],
  ])('so is what a manifest names whose link %s, while it is pulled by a tag', async (_case, damage) => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', 'v1', manifest)
    await damage(join(folder.path, manifestLinkKey('local/app', digestOf(manifest))))
    const layer = digestOf(Buffer.from('one'))

    expect(await statusOf('DELETE', at(layer))).toBe(405)

    expect(await statusOf('HEAD', '/v2/local/app/manifests/v1')).toBe(200)
    expect(await statusOf('HEAD', at(layer))).toBe(200)
  })

  test('a manifest that is put while its layer is deleted never lacks it', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    const layer = digestOf(Buffer.from('one'))

    const [put, deleted] = await Promise.all([
      push.manifest('local/app', 'v1', manifest),
      push.send('DELETE', at(layer)),
    ])

    expect([
      [201, 405],
      [400, 202],
    ]).toContainEqual([put.status, deleted.status])
  })
})

describe('end-11: POST ?mount= without from', () => {
  const mount = (digest: string) => push.send('POST', `/v2/local/app/blobs/uploads/?mount=${digest}`)

  test.each(['sha256', 'sha512'])('a %s blob that any repository has got lately is mounted', async (algorithm) => {
    const content = randomBytes(5000)
    const digest = digestOf(content, algorithm)
    await push.finish(await push.begin('team/deep/er', `?digest-algorithm=${algorithm}`), digest, content)

    const response = await mount(digest)

    expect([response.status, response.headers.get('location')]).toEqual([201, at(digest)])
    expect(await digestOfBody(await push.send('GET', at(digest)))).toBe(digestOf(content))
    expect(server.told.at(-1)).toEqual({
      name: 'blob.pushed',
      event: { repository: 'local/app', digest, bytes: 5000, mounted: true },
    })
  })

  test('what no repository holds is to be uploaded, though its bytes are still here', async () => {
    const content = randomBytes(5000)
    const digest = await push.blob('local/other', content)
    await push.send('DELETE', at(digest, 'local/other'))
    expect(existsSync(join(folder.path, blobKey(digest)))).toBe(true)

    const response = await mount(digest)

    expect(response.status).toBe(202)
    const upload = new URL(response.headers.get('location')!, server.url)
    expect((await push.finish(upload, digest, content)).status).toBe(201)
  })

  test('what was pushed before a restart is mounted from a repository next by name', async () => {
    await push.manifest('local/other', 'v1', await pushContents(push, 'local/other', ['a layer']))
    await server.kill()
    await start()

    expect((await mount(digestOf(Buffer.from('a layer')))).status).toBe(201)
  })

  test('what was pushed before a restart, and no manifest has, is to be uploaded', async () => {
    const content = randomBytes(5000)
    const digest = await push.blob('local/other', content)
    await server.kill()
    await start()

    const response = await mount(digest)

    expect(response.status).toBe(202)
    const upload = new URL(response.headers.get('location')!, server.url)
    expect((await push.finish(upload, digest, content)).status).toBe(201)
    expect((await push.send('POST', `/v2/local/third/blobs/uploads/?mount=${digest}`)).status).toBe(201)
  })

  test('it costs the same looks where nobody has it and where whoever asks may not have it', async () => {
    for (const name of ['local/r1', 'local/r2', 'local/secret'])
      await push.manifest(name, 'v1', await pushContents(push, name, ['a layer']))
    const secret = await push.blob('local/secret', randomBytes(5000))
    const nobodys = digestOf(randomBytes(10))
    const looks: string[] = []
    for (const name of ['list', 'stat', 'get'] as const) {
      const real = server.driver[name].bind(server.driver)
      Object.assign(server.driver, {
        [name]: (key: string) => {
          looks.push(key)
          return real(key)
        },
      })
    }
    const mayTake = (name: string) => name !== 'local/secret'
    const { mounts } = server.registry

    for (const digest of [secret, nobodys]) {
      looks.length = 0
      expect(await mounts.mountFromAny('local/app' as never, digest, mayTake)).toBe(false)
      expect(looks).toEqual(['local/r1', 'local/r2'].map((name) => blobLinkKey(name, digest)))
    }
    expect(await mounts.mountFromAny('local/app' as never, secret, () => true)).toBe(true)
  })

  test('it is taken only from where it may be', async () => {
    const digest = await push.blob('local/secret', randomBytes(5000))
    const asked: string[] = []
    const mountable = (name: string) => {
      asked.push(name)
      return name !== 'local/secret'
    }
    const { mounts } = server.registry

    expect(await mounts.mountFromAny('local/app' as never, digest, mountable)).toBe(false)

    expect(asked).toEqual(['local/secret'])
    expect(await statusOf('HEAD', at(digest))).toBe(404)
  })
})

describe('what is configured of uploads', () => {
  const uploads = { expireMs: 5000, perClient: 2, chunkMinLength: 4096 }

  test('OCI-Chunk-Min-Length is told with a session, and by default not', async () => {
    const begin = () => push.send('POST', '/v2/local/app/blobs/uploads/')
    const before = await begin()
    await server.kill()
    await start({ uploads })

    expect([before.headers.get('oci-chunk-min-length'), (await begin()).headers.get('oci-chunk-min-length')]).toEqual([
      null,
      '4096',
    ])
  })

  test('one client may have so many open, over a restart too, and is told when to come back', async () => {
    await server.kill()
    await start({ uploads })
    const first = await push.begin('local/app')
    await push.begin('local/other')
    await server.kill()
    await start({ uploads })

    const refused = await push.send('POST', '/v2/local/app/blobs/uploads/')

    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60'])
    expect(await refused.json()).toMatchObject({ errors: [{ code: 'TOOMANYREQUESTS' }] })
    await push.send('DELETE', first.pathname)
    await push.begin('local/app')
  })

  test('F132: an abandoned upload goes when its time is over', async () => {
    let clock = Date.now()
    await server.kill()
    await start({ uploads, now: () => clock })
    const upload = await push.begin('local/app')

    clock += uploads.expireMs - 1
    await server.registry.uploads.sweep()
    const before = await push.send('GET', upload)
    clock += uploads.expireMs + 1
    await server.registry.uploads.sweep()

    expect([before.status, before.headers.get('range')]).toEqual([204, '0-0'])
    expect(await statusOf('GET', upload.pathname)).toBe(404)
  })
})

describe('a disk without the room that uploads leave', () => {
  test('refuses uploads with 507 and says why; manifests are still taken, and pulls go on', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    const upload = await push.begin('local/app')
    await server.kill()
    await start({ minFreeBytes: Number.MAX_SAFE_INTEGER })

    const refused = [
      await push.send('POST', '/v2/local/app/blobs/uploads/'),
      await push.send('PATCH', upload.pathname, { body: randomBytes(1000) }),
      await push.send('POST', `/v2/local/app/blobs/uploads/?digest=${digestOf(Buffer.from('a'))}`, { body: 'a' }),
    ]

    expect(refused.map(({ status }) => status)).toEqual([507, 507, 507])
    expect(await refused[1]!.json()).toMatchObject({
      errors: [{ code: 'UNAVAILABLE', message: expect.stringContaining('disk is full') }],
    })
    expect((await push.send('GET', upload.pathname)).headers.get('range')).toBe('0-0')
    expect((await push.manifest('local/app', 'v1', manifest)).status).toBe(201)
    const layer = digestOf(Buffer.from('one'))
    expect(await digestOfBody(await push.send('GET', at(layer)))).toBe(layer)
    await server.kill()
    await start()
    expect((await push.finish(new URL(upload.pathname, server.url), layer, Buffer.from('one'))).status).toBe(201)
  })
})

describe('many', { timeout: 60_000 }, () => {
  const COUNT = 10_000
  const names = Array.from({ length: COUNT }, (_, at) => `n${String(at).padStart(5, '0')}`)
  /** Everything that `path` lists, page by page along Link. */
  async function pages(path: string, key: 'tags' | 'repositories') {
    const found: string[][] = []
    for (let next: string | undefined = path; next; ) {
      const response: Response = await push.send('GET', next)
      found.push(((await response.json()) as Record<string, string[]>)[key]!)
      next = /^<([^>]+)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
    }
    return found
  }

  test('10,000 tags come in pages, each once and in order', async () => {
    // Not by the driver, which waits for the disk each time.
    await mkdir(join(folder.path, tagLinksPrefix('local/app')), { recursive: true })
    for (const name of names) await writeFile(join(folder.path, tagLinkKey('local/app', name)), '{}')
    await server.kill()
    await start()

    const listed = await pages('/v2/local/app/tags/list?n=1000', 'tags')

    expect(listed.map(({ length }) => length)).toEqual(Array.from({ length: 10 }, () => 1000))
    expect(digestOf(Buffer.from(listed.flat().join()))).toBe(digestOf(Buffer.from(names.join())))
    expect(await pages('/v2/local/app/tags/list?n=5&last=n09997', 'tags')).toEqual([['n09998', 'n09999']])
  })

  test('10,000 repositories come in pages, each once and in order', async () => {
    for (const name of names) await mkdir(join(folder.path, manifestLinksPrefix(`local/${name}`)), { recursive: true })
    await server.kill()
    await start()

    const listed = await pages('/v2/_catalog?n=1000', 'repositories')

    expect(listed.map(({ length }) => length)).toEqual(Array.from({ length: 10 }, () => 1000))
    expect(digestOf(Buffer.from(listed.flat().join()))).toBe(
      digestOf(Buffer.from(names.map((name) => `local/${name}`).join())),
    )
    expect(await pages('/v2/_catalog?n=5&last=local/n09997', 'repositories')).toEqual([
      ['local/n09998', 'local/n09999'],
    ])
  })
})
