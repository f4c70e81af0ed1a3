import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type Pusher, pushContents, pusher } from '../helpers/push.js'
import { allReferrers, indexOf, referrersPage, referrerTo, SBOM, SIGNATURE } from '../helpers/referrers.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const APP = 'library/app'
const EMPTY = Buffer.from('{}')

let hub: BuiltInUpstream
let mirror: Mirror
let push: Pusher
let subject: { mediaType: string; digest: Digest; size: number }

const configured = (attach: boolean) => ({
  registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }], { attach }) },
})

async function start(options: { attach?: boolean; storage?: string } = {}) {
  const { attach = true, storage } = options
  mirror = await startMirror({ ...configured(attach), ...(storage && { storage }) })
  push = pusher(mirror.url)
}

/** The same folder, after a restart. */
async function restart(options: { attach?: boolean } = {}) {
  await mirror.close()
  await start({ ...options, storage: mirror.storage })
}

async function startWith(options: Parameters<typeof startUpstream>[0] = {}) {
  hub = await startUpstream(options)
  const { manifest, size } = hub.addImage(APP, 'v1', { layers: [100] })
  subject = { mediaType: MEDIA_TYPES.ociManifest, digest: manifest, size }
  await start()
}

const list = (query = '') => `/v2/${APP}/referrers/${subject.digest}${query}`
const tagOf = (digest: string) => digest.replace(':', '-')
const errorOf = async (response: Response) =>
  ((await response.json()) as { errors: { code: string; message: string }[] }).errors[0]

/** A signature of the mirrored image, pushed as its clients do. */
async function sign(name = 'one', type = SIGNATURE, repository = APP): Promise<Digest> {
  await push.blob(repository, EMPTY)
  const manifest = referrerTo(subject, type, { name })
  const response = await push.manifest(repository, digestOf(manifest), manifest)
  expect(response.status).toBe(201)
  expect(response.headers.get('oci-subject')).toBe(subject.digest)
  return digestOf(manifest)
}

function signAtUpstream(name = 'upstream', type = SIGNATURE): Digest {
  hub.addBlob(EMPTY)
  return hub.addManifest(APP, referrerTo(subject, type, { name }))
}

afterEach(closeAll)

describe('without attach', () => {
  beforeEach(async () => {
    hub = await startUpstream()
    await start({ attach: false })
  })

  test.each([
    ['POST', `/v2/${APP}/blobs/uploads/`],
    ['PUT', `/v2/${APP}/manifests/sha256-${'0'.repeat(64)}`],
    ['DELETE', `/v2/${APP}/manifests/v1`],
  ])('%s is refused at once and nobody is asked', async (method, path) => {
    const response = await push.send(method, path)

    expect([response.status, (await errorOf(response))?.code]).toEqual([403, 'DENIED'])
    expect(hub.asked).toEqual([])
  })
})

describe('referrers pushed to a mirrored repository', () => {
  beforeEach(() => startWith())

  test('are listed with those of the upstream, each once, and pulled without asking it', async () => {
    const theirs = signAtUpstream()
    const both = referrerTo(subject, SBOM, { name: 'both' })
    hub.addManifest(APP, both)
    const own = await sign()
    await push.manifest(APP, digestOf(both), both)

    const page = await referrersPage(push, list())

    expect(page.manifests.map(({ digest }) => digest)).toEqual([theirs, own, digestOf(both)].sort())
    expect(page.headers.get('warning')).toBeNull()
    hub.requests = []
    expect((await mirror.manifest(APP, own)).digest).toBe(own)
    expect((await mirror.manifest(`docker.io/${APP}`, own)).status).toBe(200)
    expect((await mirror.blob(APP, digestOf(EMPTY))).digest).toBe(digestOf(EMPTY))
    expect(hub.asked).toEqual([])
  })

  test('are filtered together with the upstream, which is asked for that type', async () => {
    signAtUpstream('upstream', SBOM)
    const theirs = signAtUpstream()
    await sign('other', SBOM)
    const own = await sign()

    const page = await referrersPage(push, list(`?artifactType=${encodeURIComponent(SIGNATURE)}`))

    expect(page.headers.get('oci-filters-applied')).toBe('artifactType')
    expect(page.manifests.map(({ digest }) => digest)).toEqual([theirs, own].sort())
    expect(hub.count(/referrers\/.*artifactType=/)).toBe(1)
  })

  test('are answered with a Warning while the upstream fails; without any of our own its failure is', async () => {
    const own = await sign()
    await hub.stop()

    const page = await referrersPage(push, list())

    expect([page.status, page.manifests.map(({ digest }) => digest)]).toEqual([200, [own]])
    expect(page.headers.get('warning')).toMatch(/^299 entrepot "only what was pushed here/)
    expect((await mirror.get(`/v2/${APP}/referrers/${digestOf(EMPTY)}`)).status).toBe(503)
  })

  test('are answered with a Warning while the upstream refuses the repository', async () => {
    const own = await sign()
    hub.fault = () => ({ kind: 'status', status: 403 })

    const page = await referrersPage(push, list())

    expect([page.status, page.manifests.map(({ digest }) => digest)]).toEqual([200, [own]])
    expect(page.headers.get('warning')).toMatch(/^299 /)
  })

  test('hide nothing of the upstream, and make no local repository of what is mirrored', async () => {
    await mirror.manifest(APP, 'v1')
    const cached = join(mirror.storage, 'data/repositories/docker.io', APP)
    await expect.poll(() => readdir(cached).catch(() => [])).toContain('_manifests')
    await sign()

    expect((await mirror.manifest(APP, 'v1')).digest).toBe(subject.digest)
    expect((await mirror.manifest(APP, subject.digest)).headers['x-cache']).toBe('hit')
    expect((await mirror.get('/v2/_catalog')).text).toBe('{"repositories":[]}')
    expect((await mirror.stats()).local).toMatchObject({ repositories: 0, tags: 0 })
  })

  test('may need a blob that only the upstream has: it is kept with them', async () => {
    hub.addBlob(EMPTY)
    expect((await mirror.head(`/v2/${APP}/blobs/${digestOf(EMPTY)}`)).status).toBe(200)
    const manifest = referrerTo(subject, SIGNATURE)

    expect((await push.manifest(APP, digestOf(manifest), manifest)).status).toBe(201)

    await hub.stop()
    await restart()
    expect(await mirror.blob(APP, digestOf(EMPTY))).toMatchObject({ status: 200, bytes: 2 })
    expect((await mirror.stats()).local.sizeBytes).toBe(manifest.length + 2)
  })

  test('that need a blob nobody has are refused with its digest', async () => {
    const manifest = referrerTo(subject, SIGNATURE)

    expect(await errorOf(await push.manifest(APP, digestOf(manifest), manifest))).toMatchObject({
      code: 'MANIFEST_BLOB_UNKNOWN',
      detail: { digest: digestOf(EMPTY) },
    })
  })

  test('outlive a restart and the loss of index.db, as pushed', async () => {
    const own = await sign()
    await mirror.close()
    for (const suffix of ['', '-wal', '-shm']) {
      await rm(join(mirror.storage, 'data', `index.db${suffix}`), { force: true })
    }
    await start({ storage: mirror.storage })

    expect((await referrersPage(push, list())).manifests.map(({ digest }) => digest)).toEqual([own])
    expect((await mirror.manifest(APP, own)).digest).toBe(own)
    const { local, cache } = await mirror.stats()
    expect(local.sizeBytes).toBeGreaterThan(EMPTY.length)
    expect(cache.sizeBytes).toBe(0)
  })

  test('are gone from the list and from the tag when they are deleted', async () => {
    const [gone, left] = [await sign('gone'), await sign('left')]

    expect((await push.send('DELETE', `/v2/${APP}/manifests/${gone}`)).status).toBe(202)

    expect((await referrersPage(push, list())).manifests.map(({ digest }) => digest)).toEqual([left])
    expect((await mirror.manifest(APP, tagOf(subject.digest))).text).not.toContain(gone)
  })

  test('take no more when attach is turned off, and are served on', async () => {
    const own = await sign()
    const begun = await push.begin(APP)

    await mirror.reload(configured(false))

    expect((await push.send('POST', `/v2/${APP}/blobs/uploads/`)).status).toBe(403)
    expect((await push.send('PATCH', begun, { body: 'more' })).status).toBe(403)
    expect((await referrersPage(push, list())).manifests.map(({ digest }) => digest)).toEqual([own])
    await restart({ attach: false })
    expect((await referrersPage(push, list())).manifests.map(({ digest }) => digest)).toEqual([own])
  })

  test('share blobs with local repositories by mounts, both ways', async () => {
    const blob = await push.blob(APP, Buffer.from('a signature'))
    const local = await push.blob('local/app', Buffer.from('a local layer'))
    const mount = (to: string, digest: string, from: string) =>
      push.send('POST', `/v2/${to}/blobs/uploads/?mount=${digest}&from=${from}`)

    expect((await mount('local/copy', blob, 'app')).status).toBe(201)
    expect((await mount(`docker.io/${APP}`, local, 'local/app')).status).toBe(201)
    expect((await mount('local/copy', blob, 'library/other')).status).toBe(202)
    expect((await mount('local/copy', blob, 'unknown.example/app')).status).toBe(202)
    expect((await mirror.blob(APP, local)).status).toBe(200)
    expect(hub.asked).toEqual([])
  })

  test('are pushed by uploads that go on after a restart', async () => {
    const content = Buffer.from('a signature in two parts')
    const upload = await push.begin(APP)
    await push.patch(upload, content.subarray(0, 5))
    await restart()

    const moved = new URL(upload.pathname, mirror.url)
    const status = await push.send('GET', moved)
    await push.patch(moved, content.subarray(5))

    expect(status.headers.get('range')).toBe('0-4')
    expect((await push.finish(moved, digestOf(content))).status).toBe(201)
  })
})

describe('what is no referrer', () => {
  beforeEach(() => startWith())

  test.each([
    ['an image under a tag', 'v2', undefined],
    ['an image by its digest', undefined, undefined],
    ['a referrer under a tag of the upstream', 'v1', 'with a subject'],
  ])('%s is DENIED, with the place where it may go', async (_what, tag, refers) => {
    const manifest = await pushContents(push, APP, ['a layer'], refers ? { subject } : {})

    const response = await push.manifest(APP, tag ?? digestOf(manifest), manifest)

    expect(response.status).toBe(403)
    expect(await errorOf(response)).toMatchObject({ code: 'DENIED', message: expect.stringContaining(`local/${APP}`) })
  })

  test('nor is anything by ns=, which is for pulls', async () => {
    expect((await push.send('POST', `/v2/${APP}/blobs/uploads/?ns=docker.io`)).status).toBe(403)
  })
})

describe('tags that speak of another manifest', () => {
  beforeEach(() => startWith())

  test.each(['.sig', '.att', '.sbom'])('cosign pushes %s, which needs no subject', async (suffix) => {
    const tag = `${tagOf(subject.digest)}${suffix}`
    const manifest = await pushContents(push, APP, ['a payload'])
    expect((await push.manifest(APP, tag, manifest)).status).toBe(201)

    expect((await mirror.manifest(APP, tag)).digest).toBe(digestOf(manifest))
    expect(hub.asked).toEqual([])
  })

  test('are listed among those of the upstream, page by page', async () => {
    for (const tag of ['a', 'z']) hub.setTag(APP, tag, subject.digest)
    const tag = `${tagOf(subject.digest)}.sig`
    await push.manifest(APP, tag, await pushContents(push, APP, ['a payload']))
    const pages: string[][] = []
    for (let path: string | undefined = `/v2/${APP}/tags/list?n=2`; path; ) {
      const { text, headers } = await mirror.get(path)
      pages.push(JSON.parse(text).tags)
      path = /<(.+)>/.exec(String(headers.link ?? ''))?.[1]
    }

    expect(pages).toEqual([
      ['a', tag],
      ['v1', 'z'],
    ])
  })

  test('an index under the fallback tag may list what only the upstream has, and is part of the list', async () => {
    const theirs = { mediaType: MEDIA_TYPES.ociManifest, digest: signAtUpstream(), size: 7, artifactType: SIGNATURE }
    const index = indexOf([theirs])

    expect((await push.manifest(APP, tagOf(subject.digest), index, MEDIA_TYPES.ociIndex)).status).toBe(201)

    await hub.stop()
    const page = await referrersPage(push, list())
    expect(page.manifests).toEqual([theirs])
    expect((await mirror.manifest(APP, tagOf(subject.digest))).digest).toBe(digestOf(index))
  })
})

describe('the fallback tag of what is mirrored', () => {
  test('is made of the referrers where nobody has pushed it, and can be had by its digest', async () => {
    await startWith()
    const theirs = signAtUpstream()
    const own = await sign()

    const head = await mirror.head(`/v2/${APP}/manifests/${tagOf(subject.digest)}`)
    const digest = String(head.headers['docker-content-digest'])
    hub.requests = []
    const got = await mirror.manifest(APP, digest)

    expect(got).toMatchObject({ status: 200, digest, headers: { 'content-type': MEDIA_TYPES.ociIndex } })
    expect(JSON.parse(got.text).manifests.map((each: { digest: string }) => each.digest)).toEqual([theirs, own].sort())
    expect(hub.asked).toEqual([])
    expect((await mirror.manifest('library/other', digest)).status).toBe(404)
  })

  test('is made without anything pushed here, of what the upstream lists', async () => {
    await startWith()
    const theirs = signAtUpstream()

    const got = await mirror.manifest(APP, tagOf(subject.digest))

    expect(JSON.parse(got.text).manifests).toMatchObject([{ digest: theirs }])
    expect((await mirror.manifest(APP, tagOf(digestOf(EMPTY)))).status).toBe(404)
  })

  test('has those of an upstream without referrers API and ours, as the list does', async () => {
    await startWith({ referrers: false })
    const theirs = { mediaType: MEDIA_TYPES.ociManifest, digest: signAtUpstream(), size: 9, artifactType: SIGNATURE }
    hub.addManifest(APP, indexOf([theirs]), { tags: [tagOf(subject.digest)] })
    const before = await mirror.manifest(APP, tagOf(subject.digest))
    const own = await sign()

    const page = await referrersPage(push, list(`?artifactType=${encodeURIComponent(SIGNATURE)}`))
    const got = await mirror.manifest(APP, tagOf(subject.digest))

    expect(before.digest).toBe(digestOf(indexOf([theirs])))
    expect(page.manifests.map(({ digest }) => digest)).toEqual([theirs.digest, own].sort())
    expect(JSON.parse(got.text).manifests).toEqual(page.manifests)
  })

  test('carries the Warning that a part is missing', async () => {
    await startWith()
    const own = await sign()
    await hub.stop()

    const got = await mirror.manifest(APP, tagOf(subject.digest))

    expect(got.headers.warning).toMatch(/^299 entrepot/)
    expect(JSON.parse(got.text).manifests).toMatchObject([{ digest: own }])
  })
})

test('a long merged list comes in pages, each referrer once, the filter kept', async () => {
  await startWith()
  const wanted = new Set<string>()
  for (let at = 0; at < 700; at++) wanted.add(signAtUpstream(`upstream ${at}`))
  for (let at = 0; at < 5; at++) wanted.add(await sign(`own ${at}`))
  await sign('not asked for', SBOM)

  const { pages, digests } = await allReferrers(push, list(`?artifactType=${encodeURIComponent(SIGNATURE)}`))

  expect(pages.map(({ manifests }) => manifests.length)).toEqual([500, 205])
  expect(pages.every(({ headers }) => headers.get('oci-filters-applied') === 'artifactType')).toBe(true)
  expect(digests).toEqual([...wanted].sort())
})
