import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

describe('a push to a local namespace', () => {
  afterEach(closeAll)

  async function push(auth: Record<string, unknown> | undefined, headers: Record<string, string>) {
    const hub = await startUpstream()
    const mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
      settings: auth ? { auth } : {},
    })
    const { statusCode, body } = await request(`${mirror.url}/v2/local/app/blobs/uploads/`, { method: 'POST', headers })
    const text = await body.text()
    return { status: statusCode, text, asked: hub.asked }
  }

  test.each([
    ['without auth, from loopback', undefined, {}, 202],
    ['without auth, forwarded by a proxy on this machine', undefined, { 'x-forwarded-for': '192.0.2.1' }, 403],
    ['without auth, forwarded as RFC 7239 says', undefined, { forwarded: 'for=192.0.2.1' }, 403],
    ['without auth, forwarded with the address alone', undefined, { 'x-real-ip': '192.0.2.1' }, 403],
    ['without auth, forwarded with the host alone', undefined, { 'x-forwarded-host': 'registry.example' }, 403],
    ['without auth, forwarded with the scheme alone', undefined, { 'x-forwarded-proto': 'https' }, 403],
    ['without auth, forwarded through a gateway', undefined, { via: '1.1 gateway' }, 403],
    ['without auth, by the page of another site', undefined, { origin: 'http://evil.example' }, 403],
    ['without auth, by a page in a sandbox', undefined, { origin: 'null' }, 403],
    ['without auth, by a browser', undefined, { 'sec-fetch-site': 'cross-site' }, 403],
    [
      'without auth, by the page of a name that leads here',
      undefined,
      { host: 'evil.example', origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' },
      403,
    ],
    ['with anonymous pull alone, from loopback', { anonymous: ['pull'] }, {}, 403],
    ['with anonymous push, from anywhere', { anonymous: ['pull', 'push'] }, { 'x-forwarded-for': '192.0.2.1' }, 202],
  ])('%s: %s', async (_case, auth, headers, status) => {
    const pushed = await push(auth, headers as Record<string, string>)

    expect(pushed.status).toBe(status)
    expect(pushed.asked).toEqual([])
    if (status === 403) {
      expect(JSON.parse(pushed.text)).toMatchObject({
        errors: [{ code: 'DENIED', message: expect.stringContaining('auth: { anonymous: [pull, push] }') }],
      })
    }
  })
})

describe('a deletion', () => {
  afterEach(closeAll)

  test.each([
    ['without auth, from loopback', undefined, {}, 404],
    ['without auth, forwarded by a proxy', undefined, { 'x-forwarded-for': '192.0.2.1' }, 403],
    ['with anonymous push alone', ['pull', 'push'], {}, 403],
    ['with anonymous delete', ['pull', 'delete'], { 'x-forwarded-for': '192.0.2.1' }, 404],
  ])('%s: %s', async (_case, anonymous, headers, status) => {
    const mirror = await startMirror({
      registries: { 'docker.io': registry([{ name: 'hub', url: 'http://127.0.0.1:9', role: 'origin' }]) },
      settings: anonymous ? { auth: { anonymous } } : {},
    })

    const path = `${mirror.url}/v2/local/app/manifests/v1`
    const { statusCode, body } = await request(path, { method: 'DELETE', headers: headers as Record<string, string> })

    expect(statusCode).toBe(status)
    if (status === 403) expect(await body.text()).toContain('auth: { anonymous: [pull, push, delete] }')
    else await body.dump()
  })
})

describe('F124: what is cached', () => {
  let hub: BuiltInUpstream
  beforeEach(async () => {
    hub = await startUpstream({ auth: { kind: 'basic', username: 'operator', password: 'secret' } })
  })
  afterEach(closeAll)

  const start = (allow: string[], storage?: string) =>
    startMirror({
      registries: {
        'docker.io': registry([
          { name: 'hub', url: hub.url, role: 'origin', username: 'operator', password: 'secret', allow },
        ]),
      },
      ...(storage ? { storage } : {}),
    })

  test('is not opened by a name that no upstream may be asked for, be it by tag or by digest', async () => {
    const { manifest, layers } = hub.addImage('org/app', 'v1', { layers: [1000] })
    const before = await start([])
    const opened = [await before.manifest('org/app', 'v1'), await before.blob('org/app', layers[0]!)]
    await before.close()
    hub.requests = []
    const mirror = await start(['library/*'], before.storage)

    const refused = [
      await mirror.manifest('org/app', 'v1'),
      await mirror.manifest('org/app', manifest),
      await mirror.blob('org/app', layers[0]!),
      await mirror.head(`/v2/org/app/blobs/${layers[0]}`),
      await mirror.get('/v2/org/app/tags/list'),
    ]

    expect(opened.map(({ status }) => status)).toEqual([200, 200])
    expect(refused.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404])
    expect(hub.asked).toEqual([])
  })

  test('of the manifests of one repository is none of another, though its digest is known', async () => {
    const { manifest } = hub.addImage('library/secret', 'v1', { layers: [1000] })
    hub.addImage('library/app', 'v1', { layers: [10] })
    const mirror = await start([])
    await mirror.manifest('library/secret', manifest)

    expect((await mirror.manifest('library/app', manifest)).status).toBe(404)
    expect((await mirror.manifest('local/app', manifest)).status).toBe(404)
  })

  test('of one upstream opens by its digest under names of another only where that one has it too', async () => {
    const open = await startUpstream()
    const [secret, shared] = hub.addImage('org/app', 'v1', {
      layers: [Buffer.from('secret'), Buffer.from('shared')],
    }).layers
    open.addImage('library/app', 'v1', { layers: [Buffer.from('shared')] })
    const credentials = { username: 'operator', password: 'secret' }
    const mirror = await startMirror({
      registries: {
        'docker.io': registry([
          { name: 'hub', url: hub.url, role: 'origin', ...credentials, allow: ['org/*'] },
          { name: 'open', url: open.url, role: 'origin', allow: ['library/*'] },
        ]),
      },
    })
    for (const layer of [secret, shared]) await mirror.blob('org/app', layer!)
    const asked = hub.asked.length

    const heads = await Promise.all([secret, shared].map((layer) => mirror.head(`/v2/library/app/blobs/${layer}`)))
    const gets = await Promise.all([secret, shared].map((layer) => mirror.blob('library/app', layer!)))
    const own = await mirror.blob('org/app', secret!)

    expect([...heads, ...gets].map(({ status }) => status)).toEqual([404, 200, 404, 200])
    expect(own).toMatchObject({ status: 200, headers: { 'x-cache': 'hit' } })
    expect(open.asked.filter((line) => line.startsWith('GET'))).toEqual([])
    expect(hub.asked).toHaveLength(asked)
  })

  test.each([
    ['no upstream has credentials: served, and nobody is asked', {}, 0],
    ['one has: the upstream is asked whether that repository has it', { username: 'me', password: 'it' }, 1],
  ])('whose origin was forgotten with index.db, where %s', async (_case, credentials, heads) => {
    const open = await startUpstream()
    const { layers } = open.addImage('library/app', 'v1', { layers: [1000] })
    const registries = { 'docker.io': registry([{ name: 'open', url: open.url, role: 'origin', ...credentials }]) }
    const before = await startMirror({ registries })
    await before.blob('library/app', layers[0]!)
    await before.close()
    await rm(join(before.storage, 'data', 'index.db'))
    open.requests = []
    const mirror = await startMirror({ registries, storage: before.storage })

    const got = await mirror.blob('library/app', layers[0]!)

    expect(got.headers['x-cache']).toBe('hit')
    expect(open.asked.filter((line) => line.startsWith('HEAD'))).toHaveLength(heads)
  })

  test('is not what was pushed: no local name opens a blob that was fetched', async () => {
    const { layers } = hub.addImage('library/secret', 'v1', { layers: [1000] })
    const mirror = await start([])
    await mirror.blob('library/secret', layers[0]!)

    expect((await mirror.blob('local/app', layers[0]!)).status).toBe(404)
  })
})
