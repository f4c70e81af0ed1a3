import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { temporaryFolder } from '../helpers/local-server.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'
import { askToken, basic, htpasswd, postToken } from '../helpers/users.js'

const ALICE = basic('alice', 'alicesecret')
const BOB = basic('bob', 'bobsecret')
const ACCESS = [
  { repositories: 'local/**', users: ['anonymous'], actions: ['pull'] },
  { repositories: 'local/**', actions: ['pull', 'push'] },
  { repositories: 'local/team-a/**', users: ['alice'], actions: ['pull', 'push', 'delete'] },
  { repositories: 'docker.io/library/private', users: ['alice'], actions: ['pull'] },
]

let hub: BuiltInUpstream
let folder: string
let registries: Record<string, unknown>
beforeEach(async () => {
  hub = await startUpstream()
  const made = await temporaryFolder()
  closing({ close: made.remove })
  folder = made.path
  registries = {
    'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]),
    'ghcr.io': { upstreams: [{ name: 'other', url: hub.url, role: 'origin' }] },
  }
  await writeFile(join(folder, 'users.htpasswd'), htpasswd({ alice: 'alicesecret', bob: 'bobsecret' }))
})
afterEach(closeAll)

const start = (auth: object = { access: ACCESS }) =>
  startMirror({ registries, settings: { auth: { htpasswd: 'users.htpasswd', ...auth } }, storage: folder })

/** Asks as a client that knows the challenge does. */
function client({ url }: Mirror, authorization?: string) {
  const send = async (method: string, path: string, headers: Record<string, string> = {}, body?: Uint8Array) => {
    const given = authorization === undefined ? headers : { authorization, ...headers }
    const answer = await request(url + path, { method: method as 'GET', headers: given, ...(body && { body }) })
    const text = await answer.body.text()
    return { status: answer.statusCode, headers: answer.headers, text, code: /"code":"(\w+)"/.exec(text)?.[1] }
  }
  return {
    send,
    get: (path: string, headers?: Record<string, string>) => send('GET', path, headers),
    async push(repository: string, tag = 'v1') {
      const config = Buffer.from('{}')
      const digest = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
      const blob = await send('POST', `/v2/${repository}/blobs/uploads/?digest=${digest}`, {}, config)
      if (blob.status !== 201) return { ...blob, digest }
      const type = 'application/vnd.oci.image.manifest.v1+json'
      const described = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: config.length }
      const manifest = JSON.stringify({ schemaVersion: 2, mediaType: type, config: described, layers: [] })
      const answer = await send(
        'PUT',
        `/v2/${repository}/manifests/${tag}`,
        { 'content-type': type },
        Buffer.from(manifest),
      )
      return { ...answer, digest }
    },
  }
}

/** A client with a token for what it asks. */
async function withToken(mirror: Mirror, scopes: string[], authorization?: string) {
  const { body } = await askToken(mirror.url, scopes, authorization ? { authorization } : {})
  return client(mirror, `Bearer ${body.token}`)
}

describe('F88, F139: where there are users', () => {
  test('every request without a token is sent for one, to the address that it has used', async () => {
    const { url } = await start()
    const host = url.replace('http://', '')
    const challenged = async (method: string, path: string) => {
      const { statusCode, headers, body } = await request(url + path, { method: method as 'GET' })
      await body.dump()
      return [statusCode, String(headers['www-authenticate']).replace(host, 'HOST'), headers['cache-control']]
    }
    const bearer = (scope?: string) =>
      `Bearer realm="http://HOST/token",service="entrepot"${scope ? `,scope="${scope}"` : ''}`

    expect(await challenged('GET', '/v2/')).toEqual([401, bearer(), 'no-store'])
    expect(await challenged('GET', '/v2')).toEqual([401, bearer(), 'no-store'])
    expect(await challenged('GET', '/v2/_catalog')).toEqual([401, bearer('registry:catalog:*'), 'no-store'])
    for (const [method, path, scope] of [
      ['GET', 'library/nginx/manifests/latest', 'repository:library/nginx:pull'],
      ['HEAD', 'local/app/manifests/v1', 'repository:local/app:pull'],
      ['GET', 'local/app/tags/list', 'repository:local/app:pull'],
      ['GET', 'org/app/manifests/v1?ns=ghcr.io', 'repository:ghcr.io/org/app:pull'],
      ['GET', 'local/team-a/app/tags/list', 'repository:local/team-a/app:pull'],
      ['POST', 'local/app/blobs/uploads/', 'repository:local/app:pull,push'],
      ['PUT', 'local/app/manifests/v1', 'repository:local/app:pull,push'],
      ['DELETE', 'local/app/manifests/v1', 'repository:local/app:delete'],
      ['DELETE', 'local/app/blobs/uploads/abc', 'repository:local/app:pull,push'],
    ] as const)
      expect(await challenged(method, `/v2/${path}`)).toEqual([401, bearer(scope), 'no-store'])
    expect(hub.asked).toEqual([])
  })

  test('an anonymous client pulls by an anonymous token, mirrored and local, by either kind of name', async () => {
    const { manifest } = hub.addImage('library/nginx', 'latest', { layers: [10] })
    hub.addImage('org/app', 'v1', { layers: [10] })
    const mirror = await start()
    await client(mirror, ALICE).push('local/app')

    for (const [scope, path] of [
      ['repository:library/nginx:pull', `library/nginx/manifests/${manifest}`],
      ['repository:nginx:pull', 'nginx/manifests/latest'],
      ['repository:docker.io/nginx:pull', 'docker.io/nginx/manifests/latest'],
      ['repository:docker.io/library/nginx:pull', 'nginx/manifests/latest'],
      ['repository:ghcr.io/org/app:pull', 'org/app/manifests/v1?ns=ghcr.io'],
      ['repository:local/app:pull', 'local/app/manifests/v1'],
    ] as const)
      expect([scope, (await (await withToken(mirror, [scope])).get(`/v2/${path}`)).status]).toEqual([scope, 200])
    expect((await (await withToken(mirror, [])).get('/v2/')).status).toBe(200)
  })

  test('whoever is sent for a token, or may not have it, is no error of the statistics, and names nothing there', async () => {
    hub.addImage('library/private', 'v1', { layers: [10] })
    const mirror = await start()
    const { body } = await askToken(mirror.url, ['repository:docker.io/made/up:pull'])

    const answers = [
      await client(mirror).get('/v2/docker.io/made/up/manifests/v1'),
      await client(mirror, `Bearer ${body.token}`).get('/v2/docker.io/library/private/manifests/v1'),
      await client(mirror, BOB).get('/v2/docker.io/library/private/manifests/v1'),
      await client(mirror, ALICE).get('/v2/docker.io/library/private/manifests/v1'),
    ]

    expect(answers.map(({ status }) => status)).toEqual([401, 401, 403, 200])
    await expect.poll(async () => (await mirror.stats()).requests.total).toBe(1)
    const { requests, topRepositories } = await mirror.stats()
    expect([requests.error, topRepositories.map(({ name }) => name)]).toEqual([0, ['docker.io/library/private']])
    const lines = mirror.log.filter(({ msg, path }) => msg === 'request' && String(path).includes('/manifests/'))
    expect(lines.map(({ method, repository, reference, status }) => [method, repository, reference, status])).toEqual([
      ['GET', 'made/up', 'v1', 401],
      ['GET', 'library/private', 'v1', 401],
      ['GET', 'library/private', 'v1', 403],
      ['GET', 'library/private', 'v1', 200],
    ])
  })

  test('a token for a name in one registry is none for that name in another', async () => {
    hub.addImage('org/app', 'v1', { layers: [10] })
    const mirror = await start()
    const anybody = await withToken(mirror, ['repository:org/app:pull'])

    const { status, headers } = await anybody.get('/v2/org/app/manifests/v1?ns=ghcr.io')

    expect(status).toBe(401)
    expect(headers['www-authenticate']).toContain('scope="repository:ghcr.io/org/app:pull",error="insufficient_scope"')
  })

  test('a user pushes, and deletes where a rule says so; by token, and by name and password directly', async () => {
    const mirror = await start()
    const scope = 'repository:local/team-a/app:pull,push'
    const alice = await withToken(mirror, [scope], ALICE)
    const { digest } = await alice.push('local/team-a/app')

    const small = await alice.send('DELETE', '/v2/local/team-a/app/manifests/v1')
    expect([small.status, small.headers['www-authenticate']]).toEqual([
      401,
      expect.stringContaining('scope="repository:local/team-a/app:delete",error="insufficient_scope"'),
    ])
    for (const actions of ['delete', '*']) {
      const again = await withToken(mirror, [`repository:local/team-a/app:${actions}`], ALICE)
      await client(mirror, ALICE).push('local/team-a/app')
      expect((await again.send('DELETE', '/v2/local/team-a/app/manifests/v1')).status).toBe(202)
    }
    expect((await client(mirror, ALICE).get(`/v2/local/team-a/app/blobs/${digest}`)).status).toBe(200)
    expect((await client(mirror, BOB).push('local/app')).status).toBe(201)
    const denied = await client(mirror, BOB).send('DELETE', '/v2/local/app/manifests/v1')
    expect([denied.status, denied.code]).toEqual([403, 'DENIED'])
  })

  test('a user without the right is denied, and one of nobody is asked to sign in', async () => {
    const mirror = await start()
    const path = '/v2/local/team-a/app/blobs/uploads/'
    const scope = 'repository:local/team-a/app:pull,push'

    const answers = [
      await client(mirror, BOB).send('POST', path),
      await (await withToken(mirror, [scope], BOB)).send('POST', path),
      await (await withToken(mirror, [scope])).send('POST', path),
      await client(mirror, basic('bob', 'wrong')).send('POST', path),
    ]

    expect(answers.map(({ status, code }) => [status, code])).toEqual([
      [403, 'DENIED'],
      [403, 'DENIED'],
      [401, 'UNAUTHORIZED'],
      [401, 'UNAUTHORIZED'],
    ])
    expect(answers[3]!.headers['www-authenticate']).toContain('error="invalid_token"')
  })

  test('F97: credentials that are not ours break no anonymous pull, and go nowhere', async () => {
    hub.addImage('library/nginx', 'latest', { layers: [10] })
    const mirror = await start()
    const foreign = [basic('hubuser', 'hubtoken'), 'Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln', 'Basic Og==']

    for (const authorization of [...foreign, ...Array<string>(30).fill(foreign[0]!)])
      expect((await client(mirror, authorization).get('/v2/nginx/manifests/latest')).status).toBe(200)
    const token = await askToken(mirror.url, ['repository:library/nginx:pull'], { authorization: foreign[0]! })

    expect([token.status, token.claims.sub]).toEqual([200, ''])
    expect(hub.requests.filter(({ authorization }) => authorization)).toEqual([])
    expect((await client(mirror, foreign[0]).get('/v2/')).status).toBe(401)
    expect((await client(mirror, ALICE).get('/v2/')).status).toBe(200)
  })
})

describe('the token service', () => {
  test('gives of what is asked what the policy allows', async () => {
    const mirror = await start()
    const scopes = [
      'repository:local/app:pull,push,delete repository:local/team-a/x:pull',
      'repository:library/private:pull',
      'registry:catalog:*',
      'repository:NOT/A/NAME:pull',
      'repository:unknown.example/app:pull',
      'nonsense',
    ]
    const grantsOf = async (authorization?: string) => {
      const { status, claims } = await askToken(mirror.url, scopes, authorization ? { authorization } : {})
      return [status, claims.sub, claims.access.map(({ type, name, actions }) => `${type}:${name}:${actions}`)]
    }

    expect(await grantsOf()).toEqual([200, '', ['repository:local/app:pull', 'registry:catalog:*']])
    expect(await grantsOf(BOB)).toEqual([200, 'bob', ['repository:local/app:pull,push', 'registry:catalog:*']])
    expect(await grantsOf(ALICE)).toEqual([
      200,
      'alice',
      [
        'repository:local/app:pull,push',
        'repository:local/team-a/x:pull',
        'repository:library/private:pull',
        'registry:catalog:*',
      ],
    ])
  })

  test('says how long a token holds, under both of its names, and that nobody may keep it', async () => {
    const { url } = await start()

    const { status, headers, body, claims } = await askToken(url, ['repository:local/app:pull'], {
      authorization: ALICE,
    })

    expect([status, headers['cache-control'], body.expires_in, body.access_token]).toEqual([
      200,
      'no-store',
      300,
      body.token,
    ])
    expect(Date.parse(String(body.issued_at))).toBe((claims.iat as number) * 1000)
    expect(claims).toMatchObject({ iss: 'entrepot', aud: 'entrepot', jti: expect.stringMatching(/^[0-9a-f-]{36}$/) })
    expect([(claims.exp as number) - (claims.iat as number), claims.nbf]).toEqual([300, claims.iat])
    expect(body).not.toHaveProperty('refresh_token')
  })

  test('takes a name and password in a form, as containerd sends them; gives no refresh tokens and takes none', async () => {
    const { url } = await start()
    const scope = 'repository:local/app:pull,push'
    const form = { grant_type: 'password', service: 'entrepot', client_id: 'containerd-client', scope }

    const right = await postToken(url, { ...form, username: 'alice', password: 'alicesecret' })
    const wrong = await postToken(url, { ...form, username: 'alice', password: 'wrong' })
    const refresh = await postToken(url, { grant_type: 'refresh_token', refresh_token: 'x', service: 'entrepot' })
    const large = await request(`${url}/token`, { method: 'POST', body: 'x'.repeat(70_000) })

    expect([right.status, right.claims.sub, right.claims.access[0]!.actions]).toEqual([200, 'alice', ['pull', 'push']])
    expect([wrong.status, refresh.status, large.statusCode]).toEqual([401, 400, 413])
    await large.body.dump()
  })

  test('a login without a scope is told whether the password is right', async () => {
    const { url } = await start()
    const login = async (authorization: string) => (await askToken(url, [], { authorization })).status

    expect([await login(ALICE), await login(basic('alice', 'no')), await login(basic('nobody', 'no'))]).toEqual([
      200, 401, 401,
    ])
  })

  test('after ten wrong passwords it asks to wait, and gives everybody’s tokens on', async () => {
    const { url } = await start()
    for (let i = 0; i < 10; i++) await askToken(url, [], { authorization: basic('alice', `guess ${i}`) })

    const right = await askToken(url, [], { authorization: ALICE })
    const direct = await request(`${url}/v2/local/team-a/app/tags/list`, { headers: { authorization: ALICE } })
    const anybodys = await askToken(url, ['repository:library/nginx:pull'], { authorization: ALICE })
    const none = await askToken(url, [])

    expect([right.status, right.headers['retry-after']]).toEqual([429, expect.stringMatching(/^[1-6]$/)])
    expect([direct.statusCode, direct.headers['retry-after']]).toEqual([429, expect.stringMatching(/^[1-6]$/)])
    expect([anybodys.status, anybodys.claims.sub, none.status]).toEqual([200, '', 200])
    await direct.body.dump()
  })

  test('gives for 64 long names a token that can be sent, good for the first of them', async () => {
    const mirror = await start()
    const names = Array.from({ length: 64 }, (_, i) => `local/${'a'.repeat(200)}${i}`)
    const scopes = names.map((name) => `repository:${name}:pull,push`)

    const { body, claims } = await askToken(mirror.url, scopes, { authorization: ALICE })

    expect(String(body.token).length).toBeLessThan(12_288)
    expect(claims.access.map(({ name }) => name)).toEqual(names.slice(0, 30))
    const answer = await client(mirror, `Bearer ${body.token}`).get(`/v2/${names[0]}/tags/list`)
    expect([answer.status, answer.code]).toEqual([404, 'NAME_UNKNOWN'])
  })

  test('a token of a user is no password: it buys no other one', async () => {
    const { url } = await start()
    const { body } = await askToken(url, [], { authorization: ALICE })
    const authorization = `Bearer ${body.token}`

    expect((await askToken(url, ['repository:local/team-a/x:pull'], { authorization })).status).toBe(401)
    expect((await askToken(url, ['repository:local/x:pull'], { authorization })).claims.sub).toBe('')
  })

  test.each<[string, Record<string, string>, string | undefined, string]>([
    ['the host that was used', { host: 'registry.example:5000' }, undefined, 'http://registry.example:5000/token'],
    ['an IPv6 address', { host: '[2001:db8::1]:5000' }, undefined, 'http://[2001:db8::1]:5000/token'],
    [
      'what a proxy on this machine says',
      { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'registry.example', host: 'inside:5000' },
      undefined,
      'https://registry.example/token',
    ],
    [
      'its scheme alone',
      { 'x-forwarded-proto': 'https', host: 'registry.example' },
      undefined,
      'https://registry.example/token',
    ],
    [
      'no scheme that there is not',
      { 'x-forwarded-proto': 'ftp', host: 'a.example' },
      undefined,
      'http://a.example/token',
    ],
    [
      'no host that is none',
      { 'x-forwarded-host': 'evil.example/"x', host: 'a.example' },
      undefined,
      'http://a.example/token',
    ],
    [
      'no user in it',
      { 'x-forwarded-host': 'me@evil.example', host: 'a.example' },
      undefined,
      'http://a.example/token',
    ],
    ['the configuration before all', { host: 'a.example' }, 'https://b.example', 'https://b.example/token'],
    ['with its path', { host: 'a.example' }, 'https://b.example/x/token', 'https://b.example/x/token'],
  ])('is named by %s', async (_case, headers, realm, expected) => {
    const mirror = await start(realm ? { realm } : {})

    const answer = await client(mirror).get('/v2/', headers)

    expect(answer.headers['www-authenticate']).toBe(`Bearer realm="${expected}",service="entrepot"`)
  })
})

describe('uploads.perClient', () => {
  let mirror: Mirror
  beforeEach(async () => {
    const auth = { htpasswd: 'users.htpasswd', anonymous: ['pull', 'push'] }
    const settings = { auth, local: { uploads: { perClient: 1 } } }
    mirror = await startMirror({ registries, settings, storage: folder })
  })
  const begin = async (who: ReturnType<typeof client>, from?: string) => {
    const path = '/v2/local/app/blobs/uploads/'
    return (await who.send('POST', path, from === undefined ? {} : { 'x-forwarded-for': from })).status
  }

  test('counts a user by name, wherever from and by whichever credential', async () => {
    const token = await withToken(mirror, ['repository:local/app:pull,push'], ALICE)

    expect(await begin(client(mirror, ALICE))).toBe(202)
    expect(await begin(token, '192.0.2.1')).toBe(429)
    expect(await begin(client(mirror, BOB))).toBe(202)
  })

  test('counts everybody else by address, and each that a proxy speaks for', async () => {
    const anybody = await withToken(mirror, ['repository:local/app:pull,push'])

    expect([await begin(anybody), await begin(anybody)]).toEqual([202, 429])
    expect([await begin(anybody, '192.0.2.1'), await begin(anybody, '192.0.2.1')]).toEqual([202, 429])
    expect(await begin(anybody, '192.0.2.2')).toBe(202)
    expect([await begin(anybody, '2001:db8::1'), await begin(anybody, '2001:db8::2')]).toEqual([202, 429])
  })

  test.each([
    ['an IPv4 address', '192.0.2.1:5678', '192.0.2.1:5679', '192.0.2.1'],
    ['an IPv6 address', '[2001:db8::1]:5678', '[2001:db8::1]:5679', '2001:db8::1'],
  ])('the port that a proxy writes after %s makes no other client', async (_what, first, second, bare) => {
    const anybody = await withToken(mirror, ['repository:local/app:pull,push'])

    expect([await begin(anybody, first), await begin(anybody, second), await begin(anybody, bare)]).toEqual([
      202, 429, 429,
    ])
  })
})

describe('the admin API', () => {
  test.each<[string, Record<string, string>, number]>([
    ['takes what an admin asks', {}, 200],
    [
      'from a page of its own too',
      { host: 'a.example', origin: 'http://a.example', 'sec-fetch-site': 'same-origin' },
      200,
    ],
    ['from no page of another site', { host: 'a.example', origin: 'http://b.example' }, 403],
    ['from none in a sandbox', { host: 'a.example', origin: 'null' }, 403],
    ['from none that hides whence it is', { host: 'a.example', 'sec-fetch-site': 'cross-site' }, 403],
    ['from none of a neighbour', { host: 'a.example', 'sec-fetch-site': 'same-site' }, 403],
  ])('%s', async (_case, headers, status) => {
    const mirror = await start({ access: ACCESS, admins: ['alice'] })

    const answer = await client(mirror, ALICE).send('POST', '/api/v1/gc?dryRun', headers)
    expect(answer.status).toBe(status)
    if (status === 403) expect(answer.text).toContain("serve the page from this server's address")
  })

  const gc = async (
    auth: Record<string, unknown> | undefined,
    authorization: string | undefined,
    headers: Record<string, string>,
  ) => {
    const mirror = await startMirror({ registries, settings: auth ? { auth } : {}, storage: folder })
    const { status, code, text } = await client(mirror, authorization).send('POST', '/api/v1/gc', headers)
    const run = (await mirror.stats()).gc
    return { status, code, text, ran: run !== undefined && run !== null }
  }
  const USERS = { htpasswd: 'users.htpasswd' }
  const ADMINS = { ...USERS, admins: ['alice'] }
  const AFAR = { 'x-forwarded-for': '192.0.2.1' }

  test.each<
    [
      string,
      Record<string, unknown> | undefined,
      string | undefined,
      Record<string, string>,
      number,
      string | undefined,
    ]
  >([
    ['an admin, from anywhere', ADMINS, ALICE, AFAR, 200, undefined],
    ['another user, be it here', ADMINS, BOB, {}, 403, 'DENIED'],
    ['nobody, be it here, where there are admins', ADMINS, undefined, {}, 401, 'UNAUTHORIZED'],
    ['a wrong password', ADMINS, basic('alice', 'wrong'), {}, 401, 'UNAUTHORIZED'],
    ['nobody, here, without admins', USERS, undefined, {}, 200, undefined],
    ['a user from elsewhere, without admins', USERS, ALICE, AFAR, 403, 'DENIED'],
    ['whoever is here, without auth', undefined, undefined, {}, 200, undefined],
    ['whoever is elsewhere, without auth', undefined, undefined, AFAR, 403, 'DENIED'],
    ['what everybody may push and delete', { anonymous: ['pull', 'push', 'delete'] }, undefined, AFAR, 403, 'DENIED'],
  ])('garbage is collected, or not, as asked by %s', async (_who, auth, authorization, headers, status, code) => {
    const asked = await gc(auth, authorization, headers)

    expect(asked).toMatchObject({ status, code, ran: status === 200 })
  })

  test('takes no token, which is for repositories', async () => {
    const mirror = await start({ admins: ['alice'] })

    const answer = await (await withToken(mirror, [], ALICE)).send('POST', '/api/v1/gc')

    expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, expect.stringMatching(/^Basic /)])
  })

  test('tells the page of a dashboard without auth what it takes', async () => {
    const same = { host: '127.0.0.1:5000', origin: 'http://127.0.0.1:5000', 'sec-fetch-site': 'same-origin' }
    const another = { ...same, origin: 'http://127.0.0.1:3000', 'sec-fetch-site': 'same-site' }
    const mirror = await startMirror({ registries, storage: folder })

    for (const headers of [same, another]) {
      const answer = await client(mirror).send('POST', '/api/v1/gc', headers)
      expect([answer.status, answer.text]).toEqual([403, expect.stringContaining('auth.admins')])
    }
  })
})

describe('S06: what somebody may not pull', () => {
  let mirror: Mirror
  let digest: string
  beforeEach(async () => {
    mirror = await start()
    for (const name of ['a', 's', 'team-a/x', 'team-a/y'])
      ({ digest } = await client(mirror, ALICE).push(`local/${name}`))
  })

  test('is not in the catalog, whose pages are as long as asked all the same', async () => {
    const anybody = await withToken(mirror, ['registry:catalog:*'])
    const alice = client(mirror, ALICE)
    const list = async (who: typeof alice, query: string) => {
      const { text, headers } = await who.get(`/v2/_catalog${query}`)
      return [JSON.parse(text).repositories, headers.link]
    }

    expect(await list(alice, '')).toEqual([['local/a', 'local/s', 'local/team-a/x', 'local/team-a/y'], undefined])
    expect(await list(anybody, '')).toEqual([['local/a', 'local/s'], undefined])
    expect(await list(anybody, '?n=1')).toEqual([['local/a'], '</v2/_catalog?n=1&last=local%2Fa>; rel="next"'])
    expect(await list(anybody, '?n=1&last=local/a')).toEqual([['local/s'], undefined])
    expect(await list(anybody, '?n=2')).toEqual([['local/a', 'local/s'], undefined])
  })

  test('is as absent as what is not there', async () => {
    const who = { anybody: client(mirror), bob: client(mirror, BOB) }
    const told = async (asker: ReturnType<typeof client>, name: string) => {
      const paths = ['tags/list', 'manifests/v1', `blobs/${digest}`, `referrers/${digest}`]
      const answers = await Promise.all(paths.map((path) => asker.get(`/v2/local/team-a/${name}/${path}`)))
      return answers.map(({ status, text }) => [status, text.replaceAll(`team-a/${name}`, 'NAME')])
    }

    expect(await told(who.bob, 'x')).toEqual(await told(who.bob, 'absent'))
    expect((await told(who.bob, 'x')).map(([status]) => status)).toEqual([403, 403, 403, 403])
    expect(await told(who.anybody, 'x')).toEqual(await told(who.anybody, 'absent'))
    expect((await told(who.anybody, 'x')).map(([status]) => status)).toEqual([401, 401, 401, 401])
  })

  test('is not mounted from, by its owner is, and by a token only if it is for it', async () => {
    const post = (asker: ReturnType<typeof client>, to: string, query: string) =>
      asker.send('POST', `/v2/${to}/blobs/uploads/?mount=${digest}${query}`)
    const mount = async (asker: ReturnType<typeof client>, to: string, from: string) =>
      (await post(asker, to, `&from=${from}`)).status
    const scope = 'repository:local/new:pull,push'
    const narrow = await withToken(mirror, [scope], ALICE)
    const wide = await withToken(mirror, [scope, 'repository:local/team-a/x:pull'], ALICE)

    expect(await mount(client(mirror, BOB), 'local/b', 'local/team-a/x')).toBe(202)
    expect(await mount(client(mirror, BOB), 'local/b', 'local/a')).toBe(201)
    expect(await mount(client(mirror, ALICE), 'local/c', 'local/team-a/x')).toBe(201)
    const short = await post(narrow, 'local/new', '&from=local/team-a/x')
    expect(short.status).toBe(401)
    expect(short.headers['www-authenticate']).toContain(
      'scope="repository:local/new:pull,push repository:local/team-a/x:pull",error="insufficient_scope"',
    )
    expect(await mount(wide, 'local/new', 'local/team-a/x')).toBe(201)
    expect(await mount(narrow, 'local/new', 'local/a')).toBe(201)
    // Bob cannot get a token for it, so that he is not sent for one.
    const bobs = await withToken(mirror, ['repository:local/b:pull,push'], BOB)
    expect(await mount(bobs, 'local/b', 'local/team-a/x')).toBe(202)
  })

  test('is found for a mount without a place by whoever may pull it, and by nobody else', async () => {
    const content = Buffer.from('a secret of team a')
    const secret = digestOf(content)
    const found = async (asker: ReturnType<typeof client>, to: string) =>
      (await asker.send('POST', `/v2/${to}/blobs/uploads/?mount=${secret}`)).status
    await client(mirror, ALICE).send('POST', `/v2/local/team-a/s/blobs/uploads/?digest=${secret}`, {}, content)
    const narrow = await withToken(mirror, ['repository:local/new:pull,push'], ALICE)

    expect(await found(client(mirror, BOB), 'local/b')).toBe(202)
    expect(await found(narrow, 'local/new')).toBe(201)
  })

  test('of a mirrored repository, pushed to it here, is not mounted from it, with its name or without', async () => {
    const PRIVATE = 'docker.io/library/private'
    const attached = { ...registries, 'docker.io': { ...(registries['docker.io'] as object), attach: true } }
    const access = [
      ...ACCESS.filter(({ repositories }) => repositories !== PRIVATE),
      { repositories: PRIVATE, users: ['alice'], actions: ['pull', 'push'] },
    ]
    await mirror.reload({ registries: attached, settings: { auth: { htpasswd: 'users.htpasswd', access } } })
    const content = Buffer.from('a signature of what is private')
    const signature = digestOf(content)
    const alice = client(mirror, ALICE)
    expect((await alice.send('POST', `/v2/${PRIVATE}/blobs/uploads/?digest=${signature}`, {}, content)).status).toBe(
      201,
    )
    const mount = async (asker: typeof alice, to: string, from: string) =>
      (await asker.send('POST', `/v2/${to}/blobs/uploads/?mount=${signature}${from}`)).status

    for (const from of ['&from=private', '&from=library/private', `&from=${PRIVATE}`, ''])
      expect([from, await mount(client(mirror, BOB), 'local/b', from)]).toEqual([from, 202])
    expect((await client(mirror, BOB).get(`/v2/local/b/blobs/${signature}`)).status).toBe(404)
    expect(await mount(alice, 'local/c', `&from=${PRIVATE}`)).toBe(201)
  })

  test('may be mirrored too', async () => {
    hub.addImage('library/private', 'v1', { layers: [10] })
    const path = '/v2/library/private/manifests/v1'

    expect((await client(mirror, ALICE).get(path)).status).toBe(200)
    expect((await client(mirror, BOB).get(path)).status).toBe(403)
    expect((await client(mirror, BOB).get('/v2/docker.io/private/manifests/v1')).status).toBe(403)
    expect((await client(mirror).get(path)).status).toBe(401)
  })
})

describe('what everybody may delete', () => {
  test.each([
    ['by auth.anonymous', { anonymous: ['pull', 'delete'] }],
    ['by a rule', { access: [{ repositories: 'local/app', users: ['anonymous'], actions: ['pull', 'delete'] }] }],
  ])('%s goes by a token of nobody, and nothing is pushed by one', async (_how, auth) => {
    const open = { access: [{ repositories: 'local/**', users: ['alice'], actions: ['push'] }] }
    const mirror = await start(open)
    const { digest } = await client(mirror, ALICE).push('local/app')
    await mirror.reload({ registries, settings: { auth: { htpasswd: 'users.htpasswd', ...auth } } })
    const anybody = await withToken(mirror, ['repository:local/app:pull,push,delete'])

    expect((await anybody.push('local/app')).status).toBe(401)
    expect((await anybody.send('DELETE', '/v2/local/app/manifests/v1')).status).toBe(202)
    expect((await anybody.get('/v2/local/app/manifests/v1')).status).toBe(404)
    expect((await anybody.get(`/v2/local/app/blobs/${digest}`)).status).toBe(200)
  })

  test('is nothing else: deletions without a token for it are refused', async () => {
    const mirror = await start()
    await client(mirror, ALICE).push('local/app')
    const anybody = await withToken(mirror, ['repository:local/app:pull,push,delete'])

    expect((await anybody.send('DELETE', '/v2/local/app/manifests/v1')).status).toBe(401)
    expect((await anybody.get('/v2/local/app/manifests/v1')).status).toBe(200)
  })
})

describe('another configuration while the server runs', () => {
  test('lets users in, changes the rules, and lets nobody in again', async () => {
    const mirror = await startMirror({ registries, storage: folder })
    const anybody = client(mirror)
    const reload = (auth: object) => mirror.reload({ registries, settings: { auth: auth as Record<string, unknown> } })
    expect((await anybody.get('/v2/')).status).toBe(200)

    await reload({ htpasswd: 'users.htpasswd' })
    expect((await anybody.get('/v2/')).status).toBe(401)
    expect((await client(mirror, BOB).push('local/team-a/app')).status).toBe(201)
    await reload({ htpasswd: 'users.htpasswd', access: ACCESS })
    expect((await client(mirror, BOB).push('local/team-a/app')).status).toBe(403)
    await reload({ anonymous: ['pull'] })

    expect((await anybody.get('/v2/')).status).toBe(200)
    expect((await client(mirror, BOB).push('local/app')).status).toBe(403)
    expect((await anybody.get('/token')).status).toBe(404)
  })

  test('a password that was changed counts at once', async () => {
    const mirror = await start()
    expect((await client(mirror, BOB).get('/v2/')).status).toBe(200)

    await writeFile(join(folder, 'users.htpasswd'), htpasswd({ bob: 'changed' }))

    expect((await client(mirror, BOB).get('/v2/')).status).toBe(401)
    expect((await client(mirror, basic('bob', 'changed')).get('/v2/')).status).toBe(200)
  })
})

test('S07: after all of it no password and no token is in the log, the statistics or an answer; users are in the log', async () => {
  hub.addImage('library/nginx', 'latest', { layers: [10] })
  const mirror = await start()
  const tokens: string[] = []
  const texts: string[] = []
  const remember = ({ text, headers }: { text: string; headers: object }) => texts.push(text, JSON.stringify(headers))
  for (const authorization of [ALICE, BOB, basic('alice', 'guessedwrong'), basic('hubuser', 'hubsecret')]) {
    const { body } = await askToken(mirror.url, ['repository:library/nginx:pull'], { authorization })
    tokens.push(String(body.token))
    for (const credential of [authorization, `Bearer ${body.token}`, `Bearer ${body.token}x`])
      for (const path of ['/v2/', '/v2/library/nginx/manifests/latest', '/v2/local/none/tags/list', '/v2/%zz'])
        remember(await client(mirror, credential).get(path))
  }
  for (let i = 0; i < 12; i++)
    await postToken(mirror.url, { grant_type: 'password', username: 'alice', password: `guessedwrong${i}` })
  await postToken(mirror.url, { grant_type: 'refresh_token', refresh_token: 'refreshsecret' })
  await rm(join(folder, 'users.htpasswd'))
  remember(await client(mirror, ALICE).get('/v2/'))
  texts.push(JSON.stringify(await mirror.stats()), JSON.stringify(mirror.log))

  const all = texts.join('\n')

  expect(all).not.toMatch(/alicesecret|bobsecret|guessedwrong|hubsecret|refreshsecret/)
  for (const header of [ALICE, BOB]) expect(all).not.toContain(header.slice('Basic '.length))
  for (const token of tokens) expect(all).not.toContain(token.split('.')[2])
  expect(mirror.log).toContainEqual(expect.objectContaining({ msg: 'request', user: 'alice', path: '/token' }))
  expect(mirror.log).toContainEqual(expect.objectContaining({ user: 'bob', repository: 'library/nginx', status: 200 }))
})
