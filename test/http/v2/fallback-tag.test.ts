import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../../src/oci/media-types.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../../helpers/local-server.js'
import { digestOfBody, type Pusher, pusher } from '../../helpers/push.js'
import { allReferrers, indexOf, referrersPage, referrerTo, SBOM, SIGNATURE } from '../../helpers/referrers.js'

const APP = 'local/app'
const subject = { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(Buffer.from('a subject')), size: 9 }
const tag = subject.digest.replace(':', '-')

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher

beforeEach(async () => {
  folder = await temporaryFolder()
  server = await startLocalServer(folder.path)
  push = pusher(server.url)
  await push.blob(APP, Buffer.from('{}'))
})

afterEach(async () => {
  await server.kill()
  await folder.remove()
})

const list = (query = '') => `/v2/${APP}/referrers/${subject.digest}${query}`
const get = (reference: string, method = 'GET') => push.send(method, `/v2/${APP}/manifests/${reference}`)
const listed = async () => (await referrersPage(push, list())).manifests.map(({ digest }) => digest)

async function refer(name: string, artifactType = SIGNATURE) {
  const manifest = referrerTo(subject, artifactType, { name })
  expect((await push.manifest(APP, digestOf(manifest), manifest)).status).toBe(201)
  return { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(manifest), size: manifest.length, artifactType }
}

describe('the fallback tag sha256-<hex> of a local repository', () => {
  test('is made of the referrers where nobody has pushed it: by HEAD, then by its digest', async () => {
    const referrers = [await refer('one'), await refer('two')].map(({ digest }) => digest).sort()

    const head = await get(tag, 'HEAD')
    const digest = head.headers.get('docker-content-digest')!
    const got = await get(digest)

    expect(head.headers.get('content-type')).toBe(MEDIA_TYPES.ociIndex)
    const { manifests } = (await got.clone().json()) as { manifests: { digest: string }[] }
    expect(manifests.map((each) => each.digest)).toEqual(referrers)
    expect(await digestOfBody(got)).toBe(digest)
    expect((await get(tag, 'HEAD')).headers.get('docker-content-digest')).toBe(digest)
  })

  test('is unknown where nothing refers, and so is the made index in another repository', async () => {
    expect((await get(tag)).status).toBe(404)
    await refer('one')
    const digest = (await get(tag, 'HEAD')).headers.get('docker-content-digest')
    await push.blob('local/other', Buffer.from('{}'))

    expect((await push.send('GET', `/v2/local/other/manifests/${digest}`)).status).toBe(404)
  })

  test('that was pushed is served as it was, and what it lists is part of the list, each once', async () => {
    const known = await refer('one')
    const image = referrerTo({ ...subject, digest: digestOf(Buffer.from('another')) }, SBOM)
    await push.manifest(APP, digestOf(image), image)
    const tagged = { ...known, digest: digestOf(image), size: image.length }
    const index = indexOf([known, tagged])

    expect((await push.manifest(APP, tag, index, MEDIA_TYPES.ociIndex)).status).toBe(201)

    expect(await listed()).toEqual([known.digest, tagged.digest].sort())
    expect((await get(tag)).headers.get('docker-content-digest')).toBe(digestOf(index))
  })

  test('that was pushed loses a referrer that is deleted, and nothing else; with the last one it goes', async () => {
    const [one, two] = [await refer('one'), await refer('two')]
    await push.manifest(APP, tag, indexOf([one, two], { annotations: { kept: 'yes' } }), MEDIA_TYPES.ociIndex)

    await get(one.digest, 'DELETE')
    const left = await (await get(tag)).json()
    await get(two.digest, 'DELETE')

    expect(left).toMatchObject({ manifests: [two], annotations: { kept: 'yes' } })
    expect(await listed()).toEqual([])
    expect((await get(tag)).status).toBe(404)
  })

  test('that lists what is nested too deep to be written again hides nothing, and goes on without what is deleted', async () => {
    const own = await refer('own')
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    const nested = { mediaType: 'application/json', digest: digestOf(Buffer.from('{}')), size: 2 }
    const index = indexOf([nested, own], { annotations: { kept: 'yes' } })
      .toString()
      .replace('"size":', `"x":${deep},"platform":{"os":"linux","x":${deep}},"size":`)
      .replace('"schemaVersion"', `"x":${deep},"schemaVersion"`)
    expect((await push.manifest(APP, tag, Buffer.from(index), MEDIA_TYPES.ociIndex)).status).toBe(201)

    const page = await referrersPage(push, list())
    expect([page.status, page.manifests.map(({ digest }) => digest)]).toEqual([200, [nested.digest, own.digest].sort()])
    expect((await push.send('DELETE', `/v2/${APP}/manifests/${own.digest}`)).status).toBe(202)
    expect(await (await get(tag)).json()).toEqual({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [{ ...nested, platform: { os: 'linux' } }],
      annotations: { kept: 'yes' },
    })
  })

  test('that is no index adds nothing', async () => {
    const known = await refer('one')
    await push.manifest(APP, tag, referrerTo(subject, SBOM, { name: 'under the tag' }))

    expect(await listed()).toHaveLength(2)
    expect(await listed()).toContain(known.digest)
  })
})

describe('pages of referrers', () => {
  test('lead to each once, n and the filter kept, also when one comes meanwhile', async () => {
    const wanted: string[] = []
    for (let at = 0; at < 7; at++) wanted.push((await refer(`signature ${at}`)).digest)
    await refer('not asked for', SBOM)

    const first = await referrersPage(push, list(`?n=3&artifactType=${encodeURIComponent(SIGNATURE)}`))
    const later = await refer('late')
    const rest = await allReferrers(push, first.next!)

    expect(first.next).toContain(`artifactType=${encodeURIComponent(SIGNATURE)}`)
    expect(first.manifests).toHaveLength(3)
    const after = [...wanted, later.digest].sort().filter((digest) => digest > first.manifests[2]!.digest)
    expect(rest.digests).toEqual(after)
  })

  test('n that is no number is a 400', async () => {
    expect((await push.send('GET', list('?n=many'))).status).toBe(400)
  })
})
