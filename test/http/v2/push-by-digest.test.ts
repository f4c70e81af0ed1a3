import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../../src/oci/media-types.js'
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

const pull = (reference: string) => push.send('GET', `/v2/local/app/manifests/${reference}`)
const tagsOf = async () => {
  const response = await push.send('GET', '/v2/local/app/tags/list')
  return ((await response.json()) as { tags?: string[] }).tags ?? []
}
const query = (tags: string[]) => `?${tags.map((tag) => `tag=${tag}`).join('&')}`

describe('end-7b: PUT /v2/<name>/manifests/<digest>?tag=', () => {
  test.each(['sha256', 'sha512'])('each tag is set and answered in OCI-Tag, by %s', async (algorithm) => {
    const manifest = await pushContents(push, 'local/app', ['one'])
    const digest = digestOf(manifest, algorithm)
    const tags = Array.from({ length: 12 }, (_, at) => `v${at}`)

    const response = await push.manifest('local/app', digest + query([...tags, 'v3']), manifest)

    expect([response.status, response.headers.get('docker-content-digest')]).toEqual([201, digest])
    expect(response.headers.get('oci-tag')!.split(', ')).toEqual(tags)
    expect((await tagsOf()).sort()).toEqual([...tags].sort())
    const pulled = await pull('v7')
    expect(pulled.headers.get('docker-content-digest')).toBe(digest)
    expect(await digestOfBody(pulled)).toBe(digestOf(manifest))
    expect(server.told.at(-1)).toMatchObject({ name: 'manifest.pushed', event: { digest, tags } })
  })

  test.each([
    ['a tag that is none', query(['good', '-bad']), 400],
    ['more tags than are taken at once', query(Array.from({ length: 101 }, (_, at) => `v${at}`)), 414],
  ])('with %s nothing is written', async (_case, tags, status) => {
    const manifest = await pushContents(push, 'local/app', ['one'])

    const response = await push.manifest('local/app', digestOf(manifest) + tags, manifest)

    expect([response.status, response.headers.get('oci-tag')]).toEqual([status, null])
    expect([await tagsOf(), (await pull(digestOf(manifest))).status]).toEqual([[], 404])
  })

  test('beside a tag it is ignored, with a warning', async () => {
    const manifest = await pushContents(push, 'local/app', ['one'])

    const response = await push.manifest('local/app', `v1${query(['v2'])}`, manifest)

    expect([response.status, response.headers.get('oci-tag')]).toEqual([201, null])
    expect(response.headers.get('warning')).toBe('299 - "tag= is for a push by digest, and was ignored"')
    expect(await tagsOf()).toEqual(['v1'])
  })
})

describe('Warning', () => {
  const descriptor = (mediaType: string) => ({ mediaType, digest: digestOf(Buffer.from('absent')), size: 6 })

  test.each([
    [
      'non-distributable layers',
      MEDIA_TYPES.ociManifest,
      {
        layers: [{ ...descriptor('application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'), urls: ['http://a'] }],
      },
      /^299 - "non-distributable layers are deprecated[^"]*"$/,
    ],
    [
      'the artifact manifest',
      MEDIA_TYPES.ociArtifact,
      { blobs: [] },
      /^299 - "the artifact manifest is deprecated[^"]*"$/,
    ],
  ])('%s is taken with one', async (_case, mediaType, fields, warning) => {
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType, ...fields })

    const response = await push.manifest('local/app', 'old', manifest, mediaType)

    expect([response.status, response.headers.get('warning')]).toEqual([201, expect.stringMatching(warning)])
  })

  test('an image is taken without', async () => {
    const response = await push.manifest('local/app', 'v1', await pushContents(push, 'local/app', ['one']))

    expect(response.headers.has('warning')).toBe(false)
  })
})

describe('what is sparse', () => {
  const absent = { digest: digestOf(Buffer.from('absent')), size: 6 }
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: [{ mediaType: MEDIA_TYPES.ociManifest, ...absent }],
  })
  const image = (config: object) =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config,
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...absent }],
    })

  test.each([
    ['none', 400, 400],
    ['indexes', 201, 400],
    ['all', 201, 201],
  ] as const)('with sparse: %s an index is %i, an image %i', async (sparse, ofIndex, ofImage) => {
    await server.kill()
    await start({ sparse })
    const digest = await push.blob('local/app', Buffer.from('{}'))
    const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: 2 }

    const answers = [
      await push.manifest('local/app', 'index', index, MEDIA_TYPES.ociIndex),
      await push.manifest('local/app', 'image', image(config)),
    ]

    expect(answers.map(({ status }) => status)).toEqual([ofIndex, ofImage])
    for (const answer of answers.filter(({ status }) => status === 201)) {
      expect(answer.headers.get('warning')).toBe(
        `299 - "1 of what this manifest names is not in this repository, ${absent.digest} for one"`,
      )
    }
  })
})
