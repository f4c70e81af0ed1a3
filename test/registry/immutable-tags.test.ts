import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { type Pusher, pushContents, pusher } from '../helpers/push.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher
let first: Buffer
let second: Buffer

beforeEach(async () => {
  folder = await temporaryFolder()
  server = await startLocalServer(folder.path, { immutable: [{ repositories: 'local/**', tags: ['v*'] }] })
  push = pusher(server.url)
  first = await pushContents(push, 'local/app', ['first'])
  second = await pushContents(push, 'local/app', ['second'])
  await push.manifest('local/app', 'v1', first)
})
afterEach(async () => {
  await server.kill()
  await folder.remove()
})

const named = async (tag: string): Promise<Digest> =>
  digestOf(new Uint8Array(await (await push.send('GET', `/v2/local/app/manifests/${tag}`)).arrayBuffer()))

test('an immutable tag takes no other manifest, and the same one again', async () => {
  const other = await push.manifest('local/app', 'v1', second)
  const same = await push.manifest('local/app', 'v1', first)

  expect([other.status, same.status]).toEqual([409, 201])
  expect(await other.json()).toMatchObject({ errors: [{ code: 'DENIED', detail: { tag: 'v1' } }] })
  expect(await named('v1')).toBe(digestOf(first))
})

test('neither it nor what it names is deleted, and nothing is half done', async () => {
  await push.manifest('local/app', 'latest', first)
  const statuses: number[] = []
  for (const reference of ['v1', digestOf(first)]) {
    statuses.push((await push.send('DELETE', `/v2/local/app/manifests/${reference}`)).status)
  }

  expect(statuses).toEqual([409, 409])
  expect([await named('v1'), await named('latest')]).toEqual([digestOf(first), digestOf(first)])
})

test('other tags and other repositories are as ever', async () => {
  await push.manifest('local/app', 'latest', first)
  const moved = await push.manifest('local/app', 'latest', second)
  const team = await pushContents(push, 'team/app', ['team'])
  await push.manifest('team/app', 'v1', team)
  const gone = await push.send('DELETE', '/v2/team/app/manifests/v1')

  expect([moved.status, gone.status]).toEqual([201, 202])
  expect((await push.send('DELETE', '/v2/local/app/manifests/latest')).status).toBe(202)
})

test('the last referrer that an index under an immutable fallback tag lists is deleted, with that tag', async () => {
  await server.kill()
  server = await startLocalServer(folder.path, { immutable: [{ repositories: 'local/**', tags: ['*'] }] })
  push = pusher(server.url)
  const subject = { mediaType: MEDIA_TYPES.ociManifest, digest: digestOf(first), size: first.length }
  const signature = await pushContents(push, 'local/app', ['signature'], { subject })
  const listed = { ...subject, digest: digestOf(signature), size: signature.length }
  const index = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [listed] })
  const tag = subject.digest.replace(':', '-')
  await push.manifest('local/app', listed.digest, signature)
  await push.manifest('local/app', tag, index, MEDIA_TYPES.ociIndex)

  expect((await push.send('DELETE', `/v2/local/app/manifests/${listed.digest}`)).status).toBe(202)

  const left = [listed.digest, tag].map((each) => push.send('GET', `/v2/local/app/manifests/${each}`))
  expect((await Promise.all(left)).map(({ status }) => status)).toEqual([404, 404])
})
