import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/oci/digest.js'
import { MANIFEST_LIMIT } from '../../../src/oci/manifest.js'
import { MEDIA_TYPES } from '../../../src/oci/media-types.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../../helpers/local-server.js'
import { digestOfBody, openRequest, type Pusher, pushContents, pusher } from '../../helpers/push.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher

async function start() {
  server = await startLocalServer(folder.path)
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

const pull = (reference: string, repository = 'local/app') =>
  push.send('GET', `/v2/${repository}/manifests/${reference}`)
const remove = (reference: string, repository = 'local/app') =>
  push.send('DELETE', `/v2/${repository}/manifests/${reference}`)
const codesOf = async (response: Response) =>
  ((await response.json()) as { errors: { code: string }[] }).errors.map(({ code }) => code)
const tagsOf = async (repository = 'local/app') =>
  ((await (await push.send('GET', `/v2/${repository}/tags/list`)).json()) as { tags: string[] }).tags
const referrersOf = async (subject: string, query = '') =>
  (await (await push.send('GET', `/v2/local/app/referrers/${subject}${query}`)).json()) as {
    manifests: { digest: string }[]
  }

describe('end-7: PUT /v2/<name>/manifests/<reference>', () => {
  test('by tag, it is served byte for byte by tag and by digest', async () => {
    const manifest = await pushContents(push, 'local/app', ['one', 'two'])
    const digest = digestOf(manifest)

    const response = await push.manifest('local/app', 'v1', manifest)

    expect(response.status).toBe(201)
    expect(response.headers.get('location')).toBe(`/v2/local/app/manifests/${digest}`)
    expect(response.headers.get('docker-content-digest')).toBe(digest)
    expect(response.headers.get('oci-subject')).toBeNull()
    for (const reference of ['v1', digest]) {
      const pulled = await pull(reference)
      expect(pulled.status).toBe(200)
      expect(pulled.headers.get('content-type')).toBe(MEDIA_TYPES.ociManifest)
      expect(pulled.headers.get('docker-content-digest')).toBe(digest)
      expect(await digestOfBody(pulled)).toBe(digest)
    }
    expect(server.told.at(-1)).toEqual({
      name: 'manifest.pushed',
      event: {
        repository: 'local/app',
        reference: { kind: 'tag', tag: 'v1' },
        digest,
        bytes: manifest.length,
        tags: ['v1'],
      },
    })
  })

  test('what was acknowledged is there after the server was killed', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', 'v1', manifest)

    await server.kill()
    await start()

    expect(await digestOfBody(await pull('v1'))).toBe(digestOf(manifest))
    const { layers } = JSON.parse(manifest.toString()) as { layers: { digest: string }[] }
    const layer = await push.send('GET', `/v2/local/app/blobs/${layers[0]!.digest}`)
    expect(await digestOfBody(layer)).toBe(layers[0]!.digest)
  })

  test.each(['sha256', 'sha512'])(
    'by a %s digest it is served by that digest, and no tag appears',
    async (algorithm) => {
      const manifest = await pushContents(push, 'local/app', ['one'])
      const digest = digestOf(manifest, algorithm)

      expect((await push.manifest('local/app', digest, manifest)).status).toBe(201)

      const pulled = Buffer.from(await (await pull(digest)).arrayBuffer())
      expect(digestOf(pulled, algorithm)).toBe(digest)
      expect(await tagsOf()).toEqual([])
    },
  )

  test('a tag moves, and what it was before stays by digest', async () => {
    const before = await pushContents(push, 'local/app', ['one'])
    const after = await pushContents(push, 'local/app', ['two'])
    await push.manifest('local/app', 'v1', before)

    await push.manifest('local/app', 'v1', after)

    expect(await digestOfBody(await pull('v1'))).toBe(digestOf(after))
    expect(await digestOfBody(await pull(digestOf(before)))).toBe(digestOf(before))
  })

  test('a manifest that does not say its type is served as the Content-Type that it was pushed with', async () => {
    const whole = JSON.parse((await pushContents(push, 'local/app', ['one'])).toString()) as object
    const manifest = JSON.stringify({ ...whole, mediaType: undefined })

    await push.manifest('local/app', 'v1', manifest, `${MEDIA_TYPES.ociManifest}; charset=utf-8`)

    expect((await pull('v1')).headers.get('content-type')).toBe(MEDIA_TYPES.ociManifest)
  })

  test.each([
    ['is not JSON', '{', MEDIA_TYPES.ociManifest],
    ['is a list', '[]', MEDIA_TYPES.ociManifest],
    ['is empty', '', MEDIA_TYPES.ociManifest],
    ['has a descriptor without a size', '{"config":{"digest":"sha256:00"}}', MEDIA_TYPES.ociManifest],
    [
      'calls itself otherwise than its Content-Type',
      `{"mediaType":"${MEDIA_TYPES.ociIndex}"}`,
      MEDIA_TYPES.ociManifest,
    ],
    ['is pushed as raw bytes', '{"schemaVersion":2}', 'application/octet-stream'],
    [
      'is of a type that nobody knows',
      '{"mediaType":"application/vnd.example.bundle.v1+json","items":[]}',
      'application/vnd.example.bundle.v1+json',
    ],
    [
      'does not say its type and comes as one that nobody knows',
      '{"items":[]}',
      'application/vnd.example.bundle.v1+json',
    ],
    ['is of schema 1', '{"schemaVersion":1,"fsLayers":[]}', MEDIA_TYPES.dockerSchema1Signed],
  ])('one that %s is MANIFEST_INVALID', async (_case, content, type) => {
    const response = await push.manifest('local/app', 'v1', content, type)

    expect(response.status).toBe(400)
    expect(await codesOf(response)).toEqual(['MANIFEST_INVALID'])
    expect((await pull('v1')).status).toBe(404)
  })

  test.each([
    MEDIA_TYPES.ociIndex,
    MEDIA_TYPES.ociArtifact,
    MEDIA_TYPES.dockerManifest,
    MEDIA_TYPES.dockerList,
    'application/vnd.cncf.oras.artifact.manifest.v1+json',
  ])('one of the type %s is taken', async (mediaType) => {
    const blob = await push.blob('local/app', Buffer.from('content'))
    const blobs = [{ mediaType: 'application/x', digest: blob, size: 7 }]

    const response = await push.manifest('local/app', 'v1', JSON.stringify({ mediaType, blobs }), mediaType)

    expect(response.status).toBe(201)
    expect((await pull('v1')).headers.get('content-type')).toBe(mediaType)
  })

  test('under a digest that is not its own it is DIGEST_INVALID', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])

    const response = await push.manifest('local/app', digestOf(Buffer.from('other')), manifest)

    expect(response.status).toBe(400)
    expect(await codesOf(response)).toEqual(['DIGEST_INVALID'])
    expect((await pull(digestOf(manifest))).status).toBe(404)
  })

  test('F130: with absent children it is MANIFEST_BLOB_UNKNOWN for each of them, and no tag appears', async () => {
    const elsewhere = JSON.parse((await pushContents(push, 'local/other', ['one', 'two'])).toString()) as {
      config: { digest: string }
      layers: { digest: string }[]
    }

    const response = await push.manifest('local/app', 'v1', JSON.stringify(elsewhere))

    expect(response.status).toBe(400)
    const { errors } = (await response.json()) as { errors: { code: string; detail: { digest: string } }[] }
    expect(errors.map(({ code }) => code)).toEqual(Array(3).fill('MANIFEST_BLOB_UNKNOWN'))
    expect(errors.map(({ detail }) => detail.digest)).toEqual(
      [elsewhere.config, ...elsewhere.layers].map(({ digest }) => digest),
    )
    expect((await pull('v1')).status).toBe(404)
  })

  test('a foreign layer, which has urls, may be absent', async () => {
    const foreign = {
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      digest: digestOf(Buffer.from('far away')),
      size: 8,
      urls: ['https://far.example/layer'],
    }
    const manifest = JSON.parse((await pushContents(push, 'local/app', [])).toString()) as object

    expect((await push.manifest('local/app', 'v1', JSON.stringify({ ...manifest, layers: [foreign] }))).status).toBe(
      201,
    )
  })

  test('an index is taken when its manifests are here, or blobs of a build cache, and refused otherwise', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', digestOf(manifest), manifest)
    const cached = Buffer.from('a layer of a build cache')
    await push.blob('local/app', cached)
    const index = (...contents: Uint8Array[]) =>
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociIndex,
        manifests: contents.map((content) => ({
          mediaType: MEDIA_TYPES.ociManifest,
          digest: digestOf(content),
          size: content.length,
        })),
      })

    const taken = await push.manifest('local/app', 'all', index(manifest, cached), MEDIA_TYPES.ociIndex)
    const refused = await push.manifest(
      'local/app',
      'none',
      index(manifest, Buffer.from('absent')),
      MEDIA_TYPES.ociIndex,
    )

    expect(taken.status).toBe(201)
    expect(await codesOf(refused)).toEqual(['MANIFEST_BLOB_UNKNOWN'])
  })

  test('beyond the limit it is 413, announced or not, and not read to its end', async () => {
    const target = new URL('/v2/local/app/manifests/v1', server.url)
    const announced = await openRequest('PUT', target, { 'content-length': MANIFEST_LIMIT + 1 })
    const [early] = (await once(announced, 'response')) as [IncomingMessage]
    const streamed = await push.manifest('local/app', 'v1', Buffer.alloc(MANIFEST_LIMIT + 100_000, ' '))

    expect(early.statusCode).toBe(413)
    expect(streamed.status).toBe(413)
    expect(await codesOf(streamed)).toEqual(['SIZE_INVALID'])
    announced.destroy()
  })

  test('a manifest that broke off is not taken', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    const target = new URL('/v2/local/app/manifests/v1', server.url)
    const request = await openRequest('PUT', target, {
      'content-type': MEDIA_TYPES.ociManifest,
      'content-length': manifest.length + 1,
    })
    request.write(manifest)

    request.destroy()
    await request.gone

    expect((await pull('v1')).status).toBe(404)
    expect((await push.manifest('local/app', 'v1', manifest)).status).toBe(201)
  })

  test('many at once to one repository are all there', async () => {
    const manifests = await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].map((layer) => pushContents(push, 'local/app', [layer])),
    )

    const responses = await Promise.all(manifests.map((manifest, at) => push.manifest('local/app', `v${at}`, manifest)))

    expect(responses.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201])
    for (const [at, manifest] of manifests.entries())
      expect(await digestOfBody(await pull(`v${at}`))).toBe(digestOf(manifest))
    expect(server.registry.totals()).toEqual({ repositories: 1, tags: 5 })
  })

  test('a manifest whose stored bytes were changed is never served', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', 'v1', manifest)
    await server.kill()
    const digest = digestOf(manifest)
    await rm(join(folder.path, 'blobs/sha256', digest.slice(7, 9), digest.slice(7)))
    await start()
    await server.driver.put(`blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}`, Buffer.alloc(manifest.length))

    const damaged = await pull('v1')
    await push.manifest('local/app', 'v1', manifest)

    expect(damaged.status).toBe(500)
    expect(await digestOfBody(await pull('v1'))).toBe(digest)
  })
})

describe('end-9: DELETE /v2/<name>/manifests/<reference>', () => {
  test('a tag goes alone', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    await push.manifest('local/app', 'v1', manifest)
    await push.manifest('local/app', 'v2', manifest)

    expect((await remove('v1')).status).toBe(202)

    expect([(await pull('v1')).status, (await pull('v2')).status, (await pull(digestOf(manifest))).status]).toEqual([
      404, 200, 200,
    ])
    expect(await tagsOf()).toEqual(['v2'])
    expect(server.told.at(-1)).toEqual({ name: 'tag.deleted', event: { repository: 'local/app', tag: 'v1' } })
  })

  test('a manifest goes with all its tags, and others stay', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    const other = await pushContents(push, 'local/app', ['two'])
    for (const tag of ['v1', 'v2']) await push.manifest('local/app', tag, manifest)
    await push.manifest('local/app', 'v3', other)

    expect((await remove(digestOf(manifest))).status).toBe(202)

    expect(await tagsOf()).toEqual(['v3'])
    expect((await pull(digestOf(manifest))).status).toBe(404)
    expect(await digestOfBody(await pull('v3'))).toBe(digestOf(other))
    expect(server.registry.totals()).toEqual({ repositories: 1, tags: 1 })
  })

  test.each(['absent', digestOf(Buffer.from('absent'))])('%s is MANIFEST_UNKNOWN', async (reference) => {
    const response = await remove(reference)

    expect(response.status).toBe(404)
    expect(await codesOf(response)).toEqual(['MANIFEST_UNKNOWN'])
  })
})

describe('end-12: GET /v2/<name>/referrers/<digest>', () => {
  const absent = { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(Buffer.from('a subject')), size: 9 }

  async function refer(type: string, annotations?: Record<string, string>) {
    const manifest = await pushContents(push, 'local/app', [type], { artifactType: type, subject: absent, annotations })
    const response = await push.manifest('local/app', digestOf(manifest), manifest)
    expect(response.headers.get('oci-subject')).toBe(absent.digest)
    return { digest: digestOf(manifest), size: manifest.length }
  }

  test('lists what refers to a subject, which may be absent, with its type and annotations', async () => {
    const sbom = await refer('application/x.sbom', { tool: 'syft' })

    const response = await push.send('GET', `/v2/local/app/referrers/${absent.digest}`)

    expect(response.headers.get('content-type')).toBe(MEDIA_TYPES.ociIndex)
    expect(await response.json()).toEqual({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [
        {
          mediaType: MEDIA_TYPES.ociManifest,
          ...sbom,
          artifactType: 'application/x.sbom',
          annotations: { tool: 'syft' },
        },
      ],
    })
  })

  test('filters by artifactType and says so', async () => {
    const sbom = await refer('application/x.sbom')
    await refer('application/x.signature')

    const response = await push.send('GET', `/v2/local/app/referrers/${absent.digest}?artifactType=application/x.sbom`)

    expect(response.headers.get('oci-filters-applied')).toBe('artifactType')
    const { manifests } = (await response.json()) as { manifests: { digest: string }[] }
    expect(manifests.map(({ digest }) => digest)).toEqual([sbom.digest])
  })

  test('is empty where nothing refers, and again when the referrer is deleted', async () => {
    expect((await referrersOf(absent.digest)).manifests).toEqual([])
    const sbom = await refer('application/x.sbom')
    expect((await referrersOf(absent.digest)).manifests).toHaveLength(1)

    await remove(sbom.digest)

    expect((await referrersOf(absent.digest)).manifests).toEqual([])
  })
})

describe('end-8: GET /v2/<name>/tags/list', () => {
  beforeEach(async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    for (const tag of ['b', 'A', 'a', '1.10', '1.9', 'C']) await push.manifest('local/app', tag, manifest)
  })

  test('is in lexical order, case-insensitive as the specification says', async () => {
    expect(await tagsOf()).toEqual(['1.10', '1.9', 'A', 'a', 'b', 'C'])
  })

  test('pages with n and last, linked to the next', async () => {
    const pages: string[][] = []
    const links: (string | null)[] = []
    for (let next: string | undefined = '/v2/local/app/tags/list?n=4'; next; ) {
      const response = await push.send('GET', next)
      pages.push(((await response.json()) as { tags: string[] }).tags)
      links.push(response.headers.get('link'))
      next = /^<(.+)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
    }

    expect(pages).toEqual([
      ['1.10', '1.9', 'A', 'a'],
      ['b', 'C'],
    ])
    expect(links).toEqual(['</v2/local/app/tags/list?n=4&last=a>; rel="next"', null])
  })

  test.each([
    ['n=0', []],
    ['n=2&last=A', ['a', 'b']],
    ['last=B', ['b', 'C']],
    ['last=zzz', []],
    ['n=100', ['1.10', '1.9', 'A', 'a', 'b', 'C']],
  ])('?%s', async (query, tags) => {
    expect(await (await push.send('GET', `/v2/local/app/tags/list?${query}`)).json()).toEqual({
      name: 'local/app',
      tags,
    })
  })

  test('is empty, not null, when every tag is gone, and NAME_UNKNOWN for a repository that never was', async () => {
    for (const tag of await tagsOf()) await remove(tag)

    const emptied = await push.send('GET', '/v2/local/app/tags/list')
    const unknown = await push.send('GET', '/v2/local/nothing/tags/list')

    expect(await emptied.json()).toEqual({ name: 'local/app', tags: [] })
    expect(unknown.status).toBe(404)
    expect(await codesOf(unknown)).toEqual(['NAME_UNKNOWN'])
  })
})

test('an unknown manifest and an unknown repository are told apart', async () => {
  await push.blob('local/app', Buffer.from('x'))

  const [missing, nowhere] = [await pull('v1'), await pull('v1', 'local/nothing')]

  expect([missing.status, nowhere.status]).toEqual([404, 404])
  expect([await codesOf(missing), await codesOf(nowhere)]).toEqual([['MANIFEST_UNKNOWN'], ['NAME_UNKNOWN']])
})

test('a manifest is no blob', async () => {
  const manifest = await pushContents(push, 'local/app', ['one'])
  await push.manifest('local/app', 'v1', manifest)

  for (const method of ['GET', 'HEAD']) {
    expect((await push.send(method, `/v2/local/app/blobs/${digestOf(manifest)}`)).status).toBe(404)
  }
})

describe('GET /v2/_catalog', () => {
  async function fill(...repositories: string[]) {
    for (const repository of repositories)
      await push.manifest(repository, 'v1', await pushContents(push, repository, ['one']))
  }
  const catalog = async (query = '') =>
    ((await (await push.send('GET', `/v2/_catalog${query}`)).json()) as { repositories: string[] }).repositories

  test('is empty at first', async () => {
    expect(await catalog()).toEqual([])
  })

  test('lists what holds a manifest, in the order of the whole names', async () => {
    const names = [
      'local/app',
      'local/app-two',
      'local/app/sub',
      'local/app.x',
      'team',
      'local/a/b/c',
      'local/app/sub-two',
      'local/app/s',
    ]
    await fill(...names)
    await push.blob('local/only-blobs', Buffer.from('x'))

    expect(await catalog()).toEqual([...names].sort())
    expect(server.registry.totals()).toEqual({ repositories: names.length, tags: names.length })
  })

  test.each([1, 2, 3])('pages of %i give every name once', async (n) => {
    const names = ['local/a', 'local/a-b', 'local/a/b', 'local/a/b/c', 'local/a0', 'local/b/c', 'team/x']
    await fill(...names)

    const seen: string[] = []
    for (let next: string | undefined = `/v2/_catalog?n=${n}`; next; ) {
      const response = await push.send('GET', next)
      const { repositories } = (await response.json()) as { repositories: string[] }
      expect(repositories.length).toBeLessThanOrEqual(n)
      seen.push(...repositories)
      next = /^<(.+)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
    }

    expect(seen).toEqual([...names].sort())
  })

  test('starts after last, be that a name or not', async () => {
    await fill('local/a', 'local/b', 'local/b/c', 'local/c')

    expect(await catalog('?last=local/b')).toEqual(['local/b/c', 'local/c'])
    expect(await catalog('?last=local/b/z')).toEqual(['local/c'])
    expect(await catalog('?last=local/az&n=1')).toEqual(['local/b'])
    expect(await catalog('?last=zzz')).toEqual([])
    expect(await catalog('?n=0')).toEqual([])
  })

  test('forgets a repository with its last manifest, also when counted anew after a restart', async () => {
    await fill('local/a', 'local/b')
    const digest = (await pull('v1', 'local/a')).headers.get('docker-content-digest')!

    await remove(digest, 'local/a')

    expect(await catalog()).toEqual(['local/b'])
    expect(server.registry.totals()).toEqual({ repositories: 1, tags: 1 })
    await server.kill()
    await start()
    expect(server.registry.totals()).toEqual({ repositories: 1, tags: 1 })
  })
})
