import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { temporaryFolder } from '../helpers/local-server.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { referrerTo, SIGNATURE } from '../helpers/referrers.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'
import { askToken, basic, htpasswd } from '../helpers/users.js'

const PRIVATE = 'docker.io/library/private'
const ALICE = { authorization: basic('alice', 'alicesecret') }
const BOB = { authorization: basic('bob', 'bobsecret') }
const RULES = [{ repositories: PRIVATE, users: ['alice'], actions: ['pull'] }]

let hub: BuiltInUpstream
let other: BuiltInUpstream
let folder: string
beforeEach(async () => {
  ;[hub, other] = await Promise.all([startUpstream({ ownBlobs: true }), startUpstream({ ownBlobs: true })])
  const made = await temporaryFolder()
  closing({ close: made.remove })
  folder = made.path
  await writeFile(join(folder, 'users.htpasswd'), htpasswd({ alice: 'alicesecret', bob: 'bobsecret' }))
})
afterEach(closeAll)

const configured = (access?: object[], rest: Record<string, unknown> = {}) => ({
  registries: {
    'docker.io': registry([{ name: 'origin', url: hub.url, role: 'origin' }], { attach: true }),
    // Names of upstreams differ within a registry only.
    'other.example': { upstreams: [{ name: 'origin', url: other.url, role: 'origin' }] },
  },
  settings: { auth: { htpasswd: 'users.htpasswd', ...(access && { access }), ...rest } },
})
const start = (access?: object[]) => startMirror({ ...configured(access), storage: folder })

/** Statuses of HEAD and GET. */
async function both(mirror: Mirror, repository: string, digest: string, headers: Record<string, string>) {
  const path = `/v2/${repository}/blobs/${digest}`
  return [(await mirror.head(path, headers)).status, (await mirror.get(path, headers)).status]
}

/** A layer of the private image, and one that it shares with a public one. */
function addImages() {
  const [secret, shared] = hub.addImage('library/private', 'v1', {
    layers: [Buffer.from('secret'), Buffer.from('shared')],
  }).layers
  hub.addImage('library/public', 'v1', { layers: [Buffer.from('shared')] })
  return { secret: secret!, shared: shared! }
}

async function pulledByAlice(mirror: Mirror) {
  const image = addImages()
  expect((await mirror.get(`/v2/${PRIVATE}/manifests/v1`, ALICE)).status).toBe(200)
  for (const layer of [image.secret, image.shared]) {
    expect((await mirror.blob(PRIVATE, layer, ALICE)).status).toBe(200)
  }
  await expect.poll(() => mirror.log.filter(({ msg }) => msg === 'blob cached').length).toBe(2)
  return image
}

describe('F124: a layer of a repository that a rule of auth.access keeps from bob', () => {
  test('is opened by its digest under no other name, whoever asks, of its registry or of another', async () => {
    const mirror = await start(RULES)
    const { secret } = await pulledByAlice(mirror)
    const { body } = await askToken(mirror.url, ['repository:docker.io/made/up:pull'])
    const nobody = { authorization: `Bearer ${body.token}` }

    expect(await both(mirror, PRIVATE, secret, BOB)).toEqual([403, 403])
    for (const name of ['docker.io/made/up', 'docker.io/library/public', 'other.example/made/up'])
      expect([name, await both(mirror, name, secret, BOB)]).toEqual([name, [404, 404]])
    expect(await both(mirror, 'docker.io/made/up', secret, nobody)).toEqual([404, 404])
    expect(await both(mirror, PRIVATE, secret, ALICE)).toEqual([200, 200])
  })

  test('is taken into no manifest that he pushes beside another image', async () => {
    const rules = [...RULES, { repositories: 'docker.io/library/public', users: ['bob'], actions: ['pull', 'push'] }]
    const mirror = await start(rules)
    const { secret } = await pulledByAlice(mirror)
    const subject = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: digestOf(Buffer.from('x')),
      size: 1,
    }
    const manifest = JSON.stringify({
      ...JSON.parse(referrerTo(subject, SIGNATURE).toString()),
      config: { mediaType: 'application/x', digest: secret, size: 6 },
      layers: [],
    })

    const { statusCode, body } = await request(
      `${mirror.url}/v2/docker.io/library/public/manifests/${digestOf(Buffer.from(manifest))}`,
      { method: 'PUT', headers: { ...BOB, 'content-type': subject.mediaType }, body: manifest },
    )

    expect([statusCode, await body.text()]).toEqual([400, expect.stringContaining('MANIFEST_BLOB_UNKNOWN')])
    expect(await both(mirror, 'docker.io/library/public', secret, BOB)).toEqual([404, 404])
  })

  test('opens where a manifest of the other name has it, without a question, or an upstream says so, asked once', async () => {
    const mirror = await start(RULES)
    const { shared } = await pulledByAlice(mirror)
    const asked = () => hub.count(/(HEAD|GET) .*\/library\/public\/blobs/)

    expect(await both(mirror, 'docker.io/library/public', shared, BOB)).toEqual([200, 200])
    expect(asked()).toBe(1)
    await mirror.get('/v2/docker.io/library/copy/manifests/v1', BOB)
    hub.addImage('library/copy', 'v2', { layers: [Buffer.from('shared')] })
    await mirror.get('/v2/docker.io/library/copy/manifests/v2', BOB)
    hub.requests = []
    expect(await both(mirror, 'docker.io/library/copy', shared, BOB)).toEqual([200, 200])
    expect(hub.asked).toEqual([])
  })

  test('is its own after a restart while no upstream answers, index.db lost or not', async () => {
    const before = await start(RULES)
    const { secret } = await pulledByAlice(before)
    await before.close()
    await hub.stop()
    const after = await start(RULES)
    const kept = await both(after, PRIVATE, secret, ALICE)
    await after.close()
    for (const suffix of ['', '-wal', '-shm']) await rm(join(folder, 'data', `index.db${suffix}`), { force: true })
    const mirror = await start(RULES)

    expect(kept).toEqual([200, 200])
    expect(await both(mirror, PRIVATE, secret, ALICE)).toEqual([200, 200])
    expect(await both(mirror, 'docker.io/made/up', secret, BOB)).toEqual([503, 503])
  })

  test('is kept from him from the reload on that brings the rule, and opened again by the one that takes it', async () => {
    const mirror = await start()
    const { secret } = await pulledByAlice(mirror)
    const asked = hub.asked.length

    const before = await both(mirror, 'docker.io/made/up', secret, BOB)
    expect([before, hub.asked.length]).toEqual([[200, 200], asked])
    await mirror.reload(configured(RULES))
    expect(await both(mirror, 'docker.io/made/up', secret, BOB)).toEqual([404, 404])
    await mirror.reload(configured([{ repositories: '*.io/**', users: ['bob'], actions: ['pull'] }]))
    expect(await both(mirror, 'docker.io/made/upper', secret, BOB)).toEqual([404, 404])
    await mirror.reload(configured([{ repositories: 'local/**', users: ['alice'], actions: ['push'] }]))
    expect(await both(mirror, 'docker.io/made/uppest', secret, BOB)).toEqual([200, 200])
  })

  test('is opened by no made-up name where all of it was left here by a download that did not end', async () => {
    const { secret } = addImages()
    const part = join(folder, 'data', 'fills', `sha256-${secret.slice(7)}.part`)
    await mkdir(join(folder, 'data', 'fills'), { recursive: true })
    await writeFile(part, 'secret')
    const mirror = await start(RULES)

    const got = [await mirror.blob('docker.io/made/up', secret, BOB), await mirror.blob(PRIVATE, secret, ALICE)]

    expect(got.map(({ status }) => status)).toEqual([404, 200])
  })

  test('is no other name’s while it is on its way', async () => {
    const mirror = await start(RULES)
    const { layers } = hub.addImage('library/private', 'large', { layers: [4_000_000] })
    hub.bytesPerSecond = 2_000_000
    const alice = mirror.blob(PRIVATE, layers[0]!, ALICE)
    await expect.poll(() => hub.count(/^GET .*\/blobs\//)).toBe(1)

    expect(await both(mirror, 'docker.io/made/up', layers[0]!, BOB)).toEqual([404, 404])
    hub.bytesPerSecond = undefined
    expect((await alice).digest).toBe(layers[0])
  })
})

test('F124: a layer that came with an upstream’s credentials is opened under no other name of its registry', async () => {
  const credentials = { username: 'operator', password: 'secret' }
  const mirror = await startMirror({
    registries: { 'docker.io': registry([{ name: 'origin', url: hub.url, role: 'origin', ...credentials }]) },
    storage: folder,
  })
  const { secret } = await pulledByAlice(mirror)

  expect(await both(mirror, 'docker.io/made/up', secret, {})).toEqual([404, 404])
  expect(await both(mirror, PRIVATE, secret, {})).toEqual([200, 200])
})
