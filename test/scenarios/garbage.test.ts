import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from '@photostructure/sqlite'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Finding, GcReport } from '../../src/gc/report.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { fallbackTag } from '../../src/oci/referrers.js'
import { blobKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type Pusher, pushContents, pusher } from '../helpers/push.js'
import { filesBelow } from '../helpers/stored-files.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const HOUR = 3_600_000
const DAY = 24 * HOUR

describe('garbage', () => {
  let hub: BuiltInUpstream
  let mirror: Mirror
  let folder: string | undefined
  let push: Pusher
  let ahead: number
  const now = () => Date.now() + ahead

  beforeEach(async () => {
    ahead = 0
    folder = undefined
    hub = await startUpstream()
    await start()
  })
  afterEach(closeAll)

  async function start(gc: Record<string, unknown> = {}, local: Record<string, unknown> = {}) {
    if (folder) await mirror.close()
    const registries = { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }], { attach: true }) }
    mirror = await startMirror({ registries, settings: { gc, local }, now, ...(folder && { storage: folder }) })
    folder = mirror.storage
    push = pusher(mirror.url)
  }

  const data = (...path: string[]) => join(mirror.storage, 'data', ...path)
  const stored = () => filesBelow(data('blobs'))
  const links = () => filesBelow(data('repositories'))
  const status = async (path: string) => (await mirror.head(`/v2/${path}`)).status

  async function put(repository: string, reference: string, content: Buffer, type?: string): Promise<Digest> {
    const response = await push.manifest(repository, reference, content, type)
    expect(response.status).toBe(201)
    return digestOf(content)
  }

  const image = async (repository: string, reference: string, layers: string[], extra: object = {}) =>
    put(repository, reference, await pushContents(push, repository, layers, extra))

  /** Put by its digest. */
  async function untagged(repository: string, layers: string[], extra: object = {}): Promise<Digest> {
    const content = await pushContents(push, repository, layers, extra)
    return put(repository, digestOf(content), content)
  }

  const describeManifest = (digest: Digest) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size: 1 })
  const indexOf = (children: Digest[]) =>
    Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: children.map(describeManifest) }),
    )
  const remove = async (path: string) => (await push.send('DELETE', `/v2/${path}`)).status

  async function collect(query = ''): Promise<{ found: Finding[]; report: GcReport }> {
    const { statusCode, body } = await request(`${mirror.url}/api/v1/gc${query}`, { method: 'POST' })
    const text = await body.text()
    if (statusCode !== 200) throw new Error(`${statusCode} ${text}`)
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    return { found: lines.slice(0, -1).map((line) => line.found), report: lines.at(-1).report }
  }

  test('is what no manifest names, and goes when the grace period is over', async () => {
    const kept = await image('local/app', 'v1', ['a layer'])
    const stray = await push.blob('local/app', Buffer.from('a blob that no manifest names'))

    expect((await collect()).found).toEqual([])
    ahead = 2 * HOUR
    const { found, report } = await collect()

    expect(found).toMatchObject([
      { kind: 'blob', repository: 'local/app', digest: stray, bytes: 29 },
      { kind: 'content', digest: stray, bytes: 29 },
    ])
    expect(report).toMatchObject({ freedBytes: 29, damaged: 0 })
    expect(await status(`local/app/blobs/${stray}`)).toBe(404)
    expect(await status(`local/app/manifests/${kept}`)).toBe(200)
    expect((await collect()).found).toEqual([])
  })

  test('is what only a deleted manifest named; what another one shares stays', async () => {
    await image('local/app', 'v1', ['shared', 'of v1 alone'])
    const v1 = digestOf(await pushContents(push, 'local/app', ['shared', 'of v1 alone']))
    await image('local/app', 'v2', ['shared'])
    await image('local/other', 'v1', ['shared'])
    expect(await remove(`local/app/manifests/${v1}`)).toBe(202)
    ahead = 2 * HOUR

    await collect()

    const layer = (text: string) => digestOf(Buffer.from(text))
    expect(await status(`local/app/blobs/${layer('of v1 alone')}`)).toBe(404)
    expect(await stored()).not.toContain(blobKey(v1).slice('blobs/'.length))
    for (const repository of ['local/app', 'local/other']) {
      expect(await status(`${repository}/blobs/${layer('shared')}`)).toBe(200)
    }
  })

  test('is an index of referrers when another one has its fallback tag, unless it was put by its digest too', async () => {
    const repository = 'docker.io/library/nginx'
    const tag = fallbackTag(digestOf(Buffer.from('an image')))
    const [first, used, last] = ['one', 'two', 'three'].map((name) => indexOf([digestOf(Buffer.from(name))]))
    await put(repository, tag, first!, MEDIA_TYPES.ociIndex)
    await put(repository, `${digestOf(used!)}?tag=${tag}`, used!, MEDIA_TYPES.ociIndex)
    await put(repository, tag, used!, MEDIA_TYPES.ociIndex)
    await put(repository, tag, last!, MEDIA_TYPES.ociIndex)
    expect((await collect()).found).toEqual([])
    ahead = 2 * HOUR

    expect((await collect()).found).toMatchObject([
      { kind: 'manifest', repository, digest: digestOf(first!) },
      { kind: 'content', digest: digestOf(first!) },
    ])
    for (const reference of [digestOf(used!), digestOf(last!), tag]) {
      expect(await status(`${repository}/manifests/${reference}`)).toBe(200)
    }
    ahead += 400 * DAY
    expect((await collect()).found).toEqual([])
  })

  test('is no image for several platforms whose tag looks like a fallback tag and went', async () => {
    const platforms = [await untagged('local/app', ['amd64']), await untagged('local/app', ['arm64'])]
    const tag = fallbackTag(digestOf(Buffer.from('what it was built from')))
    const index = await put('local/app', tag, indexOf(platforms), MEDIA_TYPES.ociIndex)
    expect(await remove(`local/app/manifests/${tag}`)).toBe(202)
    ahead = 2 * HOUR

    expect((await collect()).found).toEqual([])
    for (const digest of [index, ...platforms]) expect(await status(`local/app/manifests/${digest}`)).toBe(200)
  })

  test('is an index of referrers that was written anew without one that was deleted', async () => {
    const image = await pushContents(push, 'local/app', ['a layer'])
    const subject = describeManifest(await put('local/app', 'v1', image))
    const [one, two] = [
      await untagged('local/app', ['one'], { subject }),
      await untagged('local/app', ['two'], { subject }),
    ]
    await put('local/app', fallbackTag(subject.digest), indexOf([one, two]), MEDIA_TYPES.ociIndex)
    for (const digest of [one, two]) expect(await remove(`local/app/manifests/${digest}`)).toBe(202)
    ahead = 2 * HOUR

    const { found } = await collect()

    expect(found.filter(({ kind }) => kind === 'manifest')).toHaveLength(2)
    expect(await stored()).toHaveLength(3)
  })

  test('an untagged manifest is none: somebody may use it by its digest', async () => {
    const digest = await untagged('local/app', ['deployed by digest'])
    ahead = 400 * DAY

    expect((await collect()).found).toEqual([])

    expect((await mirror.manifest('local/app', digest)).status).toBe(200)
  })

  test('of a deleted index the children go, but those with a tag or in another index; a script may delete them first', async () => {
    const [alone, tagged, shared, scripted] = [
      await untagged('local/app', ['amd64']),
      await image('local/app', 'arm', ['arm64']),
      await untagged('local/app', ['s390x']),
      await untagged('local/app', ['riscv64']),
    ]
    const index = await put('local/app', 'v1', indexOf([alone, tagged, shared, scripted]), MEDIA_TYPES.ociIndex)
    await put('local/app', 'v2', indexOf([shared]), MEDIA_TYPES.ociIndex)
    ahead = 2 * HOUR

    expect(await remove(`local/app/manifests/${index}`)).toBe(202)
    expect((await collect()).found.filter(({ kind }) => kind === 'manifest')).toEqual([])
    expect(await remove(`local/app/manifests/${scripted}`)).toBe(202)
    ahead = 4 * HOUR
    await collect()

    expect(await status(`local/app/manifests/${alone}`)).toBe(404)
    expect(await status(`local/app/manifests/${tagged}`)).toBe(200)
    expect(await status(`local/app/manifests/${shared}`)).toBe(200)
    expect(await status(`local/app/blobs/${digestOf(Buffer.from('amd64'))}`)).toBe(404)
  })

  test('a child that is pushed again after its index was deleted stays', async () => {
    const child = await untagged('local/app', ['amd64'])
    const index = await put('local/app', 'v1', indexOf([child]), MEDIA_TYPES.ociIndex)
    await remove(`local/app/manifests/${index}`)
    await untagged('local/app', ['amd64'])
    ahead = 2 * HOUR

    await collect()

    expect(await status(`local/app/manifests/${child}`)).toBe(200)
  })

  test('referrers go with their subject, and stay where it was never here', async () => {
    const subject = await image('local/app', 'v1', ['signed'])
    const signature = await untagged('local/app', ['signature'], { subject: describeManifest(subject) })
    const foreign = await untagged('local/app', ['sbom'], {
      subject: describeManifest(digestOf(Buffer.from('elsewhere'))),
    })
    await remove(`local/app/manifests/${subject}`)
    expect(await status(`local/app/manifests/${signature}`)).toBe(200)
    ahead = 2 * HOUR

    await collect()

    expect(await status(`local/app/manifests/${signature}`)).toBe(404)
    expect(await status(`local/app/manifests/${foreign}`)).toBe(200)
    expect((await links()).filter((name) => name.includes('_referrers'))).toHaveLength(1)
  })

  test('a referrer of an absent subject outlives the index under the fallback tag that lists it', async () => {
    await start({ retention: [{ repositories: 'local/**', untagged: '7d' }] })
    const subject = digestOf(Buffer.from('elsewhere'))
    const signature = await untagged('local/app', ['signature'], { subject: describeManifest(subject) })
    const tag = subject.replace(':', '-')
    const index = await put('local/app', tag, indexOf([signature]), MEDIA_TYPES.ociIndex)
    expect(await remove(`local/app/manifests/${tag}`)).toBe(202)
    ahead = 10 * DAY

    await collect()

    expect(await status(`local/app/manifests/${index}`)).toBe(404)
    expect(await status(`local/app/manifests/${signature}`)).toBe(200)
  })

  describe('a signature under a tag like sha256-<hex>.sig', () => {
    let subject: Digest
    let tag: string
    let signature: Digest
    let signatureBytes: Buffer

    beforeEach(async () => {
      await start({ retention: [{ repositories: 'local/**', keepLast: 1 }] })
      subject = await image('local/app', 'v1', ['signed'])
      tag = `${subject.replace(':', '-')}.sig`
      signatureBytes = await pushContents(push, 'local/app', ['signature'])
      signature = await put('local/app', tag, signatureBytes)
      ahead = DAY
    })

    const isPulled = async (reference: string) => (await status(`local/app/manifests/${reference}`)) === 200

    test('is not counted by a rule, and stays with its image', async () => {
      await collect()

      expect([await isPulled('v1'), await isPulled(tag)]).toEqual([true, true])
    })

    test.each([
      ['deleted', () => remove(`local/app/manifests/${subject}`)],
      ['let go by a rule', () => image('local/app', 'v2', ['newer'])],
    ])('goes when its image was %s, by the next run after the grace period', async (_case, release) => {
      await release()
      ahead += HOUR / 2
      await collect()
      expect(await isPulled(tag)).toBe(true)
      ahead += DAY
      await collect()
      ahead += DAY
      const { found } = await collect()

      expect(await isPulled(subject)).toBe(false)
      expect([await isPulled(tag), await isPulled(signature)]).toEqual([false, false])
      expect(found).toEqual([])
    })

    test.each([
      ['it has another tag', () => put('local/app', 'mine', signatureBytes)],
      ['its image is pushed again', () => image('local/app', 'v1', ['signed'])],
      ['it is pushed again', () => put('local/app', tag, signatureBytes)],
    ])('stays where %s', async (_case, hold) => {
      await put('local/app', 'mine', signatureBytes)
      await remove('local/app/manifests/mine')
      await remove(`local/app/manifests/${subject}`)
      await hold()
      ahead += DAY
      await collect()
      ahead += DAY
      await collect()

      expect(await isPulled(signature)).toBe(true)
    })

    test('stays where its image was never here', async () => {
      const elsewhere = `${digestOf(Buffer.from('elsewhere')).replace(':', '-')}.sig`
      await image('local/signatures', elsewhere, ['of another repository'])
      ahead += DAY

      await collect()

      expect(await status(`local/signatures/manifests/${elsewhere}`)).toBe(200)
    })
  })

  test.each([
    ['asked for by HEAD', async (digest: Digest) => void (await mirror.head(`/v2/local/app/blobs/${digest}`))],
    [
      'mounted',
      async (digest: Digest) =>
        void (await push.send('POST', `/v2/local/b/blobs/uploads/?mount=${digest}&from=local/app`)),
    ],
    ['pushed again', async () => void (await push.blob('local/app', Buffer.from('old')))],
  ])('F135: an old blob that was just %s is there for the manifest', async (_case, use) => {
    const digest = await push.blob('local/app', Buffer.from('old'))
    ahead = DAY

    await use(digest)
    const { found } = await collect()

    expect(found).toEqual([])
    const manifest = await pushContents(push, 'local/app', ['old'])
    expect((await push.manifest('local/app', 'v1', manifest)).status).toBe(201)
  })

  test('a layer stays, however old, while another one is still being uploaded to its repository', async () => {
    const upload = await push.begin('local/app')
    const manifest = await pushContents(push, 'local/app', ['done early'])
    ahead = 2 * HOUR
    await push.patch(upload, Buffer.from('still coming'))

    const beside = await collect()
    const { status: put } = await push.manifest('local/app', 'v1', manifest)
    const stray = await push.blob('local/app', Buffer.from('stray'))
    ahead = 5 * HOUR
    const later = await collect()

    expect([beside.found, put]).toEqual([[], 201])
    expect(later.found).toMatchObject([{ kind: 'blob', digest: stray }, { kind: 'content' }])
  })

  test('what the cache has as well stays as the cache has it', async () => {
    const { layers } = hub.addImage('library/app', 'v1', { layers: [5000] })
    const layer = layers[0]!
    const fetched = await request(`${mirror.url}/v2/library/app/blobs/${layer}`)
    const bytes = Buffer.from(await fetched.body.arrayBuffer())
    await push.blob('local/app', bytes)
    ahead = DAY

    const { found } = await collect()

    expect(found).toMatchObject([
      { kind: 'blob', digest: layer, bytes: 5000 },
      { kind: 'content', digest: layer, bytes: 0 },
    ])
    await hub.stop()
    expect((await mirror.blob('library/app', layer)).headers['x-cache']).toBe('hit')
    expect((await mirror.stats()).local.sizeBytes).toBe(0)
  })

  test('a reader that is open finishes, and nobody begins after it', async () => {
    const digest = await push.blob('local/app', Buffer.alloc(32 * 1024 * 1024, 'x'))
    const { body } = await request(`${mirror.url}/v2/local/app/blobs/${digest}`)
    ahead = DAY

    const { report } = await collect()
    let bytes = 0
    for await (const chunk of body) bytes += (chunk as Buffer).length

    expect(report.freedBytes).toBe(32 * 1024 * 1024)
    expect(bytes).toBe(32 * 1024 * 1024)
    expect(await status(`local/app/blobs/${digest}`)).toBe(404)
  })

  test('a dry run lists what the run takes, and takes nothing', async () => {
    await start({ retention: [{ repositories: 'local/**', keepLast: 1 }] })
    for (const tag of ['a', 'b', 'c']) {
      await image('local/app', tag, [tag])
      ahead += 1000
    }
    await push.blob('local/deep/er', Buffer.from('stray'))
    const signed = await untagged('local/app', ['sig'], {
      subject: describeManifest(digestOf(await pushContents(push, 'local/app', ['a']))),
    })
    ahead += DAY
    const before = [...(await stored()), ...(await links())]

    const dry = await collect('?dryRun=true')
    expect([...(await stored()), ...(await links())]).toEqual(before)
    const real = await collect()

    const inOrder = (found: Finding[]) => found.map((each) => JSON.stringify(each)).sort()
    expect(inOrder(real.found)).toEqual(inOrder(dry.found))
    expect(real.found.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['tag', 'manifest', 'blob', 'content']))
    expect(dry.report.freedBytes).toBe(real.report.freedBytes)
    expect(real.found).toContainEqual(expect.objectContaining({ kind: 'manifest', digest: signed }))
    expect((await mirror.get('/v2/local/app/tags/list')).text).toContain('["c"]')
    expect((await collect()).found).toEqual([])
    expect((await mirror.stats()).gc).toMatchObject({ found: { tag: 0 }, freedBytes: 0, failed: 0 })
  })

  test('a second run while one is under way is refused, and anybody but this machine', async () => {
    const outside = await push.send('POST', '/api/v1/gc', { headers: { 'x-forwarded-for': '203.0.113.7' } })
    const page = await push.send('POST', '/api/v1/gc', { headers: { origin: 'http://evil.example' } })
    for (let n = 0; n < 50; n++) await push.blob('local/app', Buffer.from(`${n}`))
    const two = await Promise.all([push.send('POST', '/api/v1/gc'), push.send('POST', '/api/v1/gc')])

    expect([outside.status, page.status]).toEqual([403, 403])
    expect(two.map(({ status }) => status).sort()).toEqual([200, 409])
    expect(await two.find((each) => each.status === 409)!.text()).toContain('ask again when it has ended')
  })

  test('links of mirrored manifests that were evicted go, their tags stay', async () => {
    const { manifest } = hub.addImage('library/app', 'v1', { layers: [1000] })
    await mirror.manifest('library/app', 'v1')
    const { manifest: other } = hub.addImage('library/other', 'v1', { layers: [1000] })
    await mirror.manifest('library/other', 'v1')
    const link = `docker.io/library/app/_manifests/${manifest.replace(':', '/')}`
    await expect.poll(links).toContain(link)
    await expect.poll(stored).toHaveLength(2)
    await rm(data(blobKey(manifest)))
    ahead = DAY

    const { found } = await collect()

    expect(found).toMatchObject([
      { kind: 'manifest', repository: 'docker.io/library/app', digest: manifest },
      { kind: 'row', digest: manifest },
    ])
    expect(await links()).toContain('docker.io/library/app/_tags/v1')
    expect(await links()).toContain(`docker.io/library/other/_manifests/${other.replace(':', '/')}`)
    expect((await mirror.manifest('library/app', manifest)).status).toBe(200)
  })

  test('where a needed manifest is damaged nothing of its repository goes', async () => {
    const digest = await image('local/app', 'v1', ['a layer'])
    await image('local/well', 'v1', ['another layer'])
    await push.blob('local/app', Buffer.from('stray'))
    await push.blob('local/well', Buffer.from('stray of another'))
    await writeFile(data(blobKey(digest)), 'damaged')
    ahead = DAY

    const { found, report } = await collect()

    expect(found.map((each) => 'repository' in each && each.repository)).not.toContain('local/app')
    expect(report).toMatchObject({ damaged: 1, found: { blob: 1 } })
  })

  test('where a tag is damaged nothing of its repository goes, whatever the rules, until that one is deleted', async () => {
    await start({ retention: [{ repositories: 'local/**', untagged: '7d' }] })
    const digest = await image('local/app', 'v1', ['a layer'])
    const stray = await push.blob('local/app', Buffer.from('perhaps of the damaged one'))
    await writeFile(data(tagLinkKey('local/app', 'v1')), '')
    ahead = 10 * DAY

    const { report } = await collect()

    expect(report).toMatchObject({ damaged: 1, found: { manifest: 0, blob: 0, content: 0 } })
    expect([await status(`local/app/manifests/${digest}`), await status(`local/app/blobs/${stray}`)]).toEqual([
      200, 200,
    ])
    expect(await remove('local/app/manifests/v1')).toBe(202)
    expect((await mirror.get('/v2/local/app/tags/list')).text).toContain('"tags":[]')
    ahead += DAY
    expect((await collect()).report).toMatchObject({ damaged: 0, found: { blob: 1, content: 1 } })
    expect(await status(`local/app/blobs/${stray}`)).toBe(404)
  })

  test('where a manifest is of a type that nobody knows nothing of its repository goes', async () => {
    const layer = await push.blob('local/app', Buffer.from('payload'))
    const digest = await image('local/app', 'v1', ['a layer'])
    const content = JSON.stringify({ mediaType: 'application/vnd.example.bundle.v1+json', items: [layer] })
    const other = digestOf(Buffer.from(content))
    await mkdir(dirname(data(blobKey(other))), { recursive: true })
    await writeFile(data(blobKey(other)), content)
    const link = { digest: other, mediaType: 'application/vnd.example.bundle.v1+json' }
    for (const key of [manifestLinkKey('local/app', other), tagLinkKey('local/app', 'other')]) {
      await writeFile(data(key), JSON.stringify(link))
    }
    ahead = DAY

    const { report } = await collect()

    expect(report).toMatchObject({ damaged: 1, found: { blob: 0, content: 0 } })
    expect([await status(`local/app/blobs/${layer}`), await status(`local/app/manifests/${digest}`)]).toEqual([
      200, 200,
    ])
  })

  test('where all files are gone, a disk that is not there for example, no link goes', async () => {
    await image('local/app', 'v1', ['a layer'])
    await untagged('local/app', ['another'])
    const before = await links()
    await rm(data('blobs'), { recursive: true })
    ahead = DAY

    await collect()

    expect(await links()).toEqual(before)
  })

  test('a namespace that was taken out of the configuration keeps what it has', async () => {
    await start({}, { namespaces: ['local', 'team'] })
    await image('team/app', 'v1', ['theirs'])
    await start({}, { namespaces: ['local'] })
    const before = await stored()
    ahead = DAY

    await collect()

    expect(await stored()).toEqual(before)
  })

  test('what is attached to a mirrored image stays until it is deleted, whatever the rules; then it goes', async () => {
    await start({ retention: [{ repositories: '**', keepLast: 0, untagged: '1m' }] })
    const { manifest: subject } = hub.addImage('library/app', 'v1', { layers: [1000] })
    const layer = await push.blob('library/app', Buffer.from('an SBOM'))
    const stray = await push.blob('library/app', Buffer.from('stray'))
    const described = { mediaType: 'application/spdx+json', digest: layer, size: 7 }
    const content = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        config: described,
        layers: [described],
        subject: describeManifest(subject),
      }),
    )
    const sbom = await put('library/app', digestOf(content), content)
    const pulled = async () => (await mirror.manifest('library/app', sbom)).status
    ahead = DAY

    const first = await collect()
    expect(first.found).toMatchObject([
      { kind: 'blob', repository: 'docker.io/library/app', digest: stray },
      { kind: 'content', digest: stray },
    ])
    expect(await pulled()).toBe(200)
    expect(await remove(`library/app/manifests/${sbom}`)).toBe(202)
    ahead = 3 * DAY
    const { found } = await collect()

    expect(found).toMatchObject([
      { kind: 'blob', repository: 'docker.io/library/app', digest: layer },
      { kind: 'content' },
      { kind: 'content' },
    ])
    expect(await pulled()).toBe(404)
  })

  test('what a crash leaves goes: rows without files, files without rows, empty folders', async () => {
    await image('local/app', 'v1', ['a layer'])
    const lost = await push.blob('local/app', Buffer.from('lost'))
    const unknown = digestOf(Buffer.from('unknown'))
    await rm(data(blobKey(lost)))
    await start()
    await mkdir(data('blobs/sha256', unknown.slice(7, 9)), { recursive: true })
    await mkdir(data('repositories/local/empty/_manifests/sha256'), { recursive: true })
    await writeFile(data(blobKey(unknown)), 'unknown')
    ahead = DAY

    const { found } = await collect()

    expect(found).toMatchObject([
      { kind: 'blob', digest: lost, bytes: 0, why: 'its bytes are gone' },
      { kind: 'row', digest: lost },
      { kind: 'content', digest: unknown },
    ])
    expect((await mirror.get('/v2/_catalog')).text).not.toContain('empty')
  })

  test('what a repository links to and the index does not know is none, and the index learns it', async () => {
    await image('local/app', 'v1', ['a layer'])
    const before = (await mirror.stats()).local.sizeBytes
    await mirror.close()
    const db = new DatabaseSync(data('index.db'))
    db.exec('DELETE FROM blobs')
    db.close()
    await start()
    ahead = DAY

    const { found } = await collect()

    expect(found).toEqual([])
    expect((await mirror.stats()).local.sizeBytes).toBe(before)
  })
})
