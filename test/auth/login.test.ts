import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Origin } from '../../src/auth/attempts.js'
import { Login } from '../../src/auth/login.js'
import { basic, htpasswd } from '../helpers/users.js'

let folder: string
let users: string
let time: number
let lines: Record<string, unknown>[]
let login: Login
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-login-'))
  users = join(folder, 'users.htpasswd')
  await writeFile(users, htpasswd({ alice: 'secret', bob: 'geheim' }))
  time = Date.UTC(2026, 1, 3)
  lines = []
  login = build()
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function build(): Login {
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const login = new Login({ keyFile: join(folder, 'token-key.pem'), log, now: () => time })
  login.configure({ htpasswd: users })
  return login
}

const NEAR: Origin = { address: '192.0.2.1' }
const kindOf = async (authorization: string | undefined, origin = NEAR, spare = false) => {
  const { user, credential } = await login.identify(authorization, origin, spare)
  return [user, credential?.kind]
}
const signIn = (name: string, password: string, origin = NEAR, spare = false) =>
  kindOf(basic(name, password), origin, spare)

describe('a password', () => {
  test('is right or wrong, and an unknown name is wrong', async () => {
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])
    expect(await signIn('alice', 'geheim')).toEqual([undefined, 'foreign'])
    expect(await signIn('carol', 'secret')).toEqual([undefined, 'foreign'])
    expect(await signIn('alice', '')).toEqual([undefined, 'foreign'])
  })

  test('may hold a colon and any letter', async () => {
    await writeFile(users, htpasswd({ alice: 'pa:ss wörd' }))

    expect(await signIn('alice', 'pa:ss wörd')).toEqual(['alice', 'password'])
  })

  test('that is far too long is wrong, though bcrypt sees its beginning alone', async () => {
    const long = 'a'.repeat(72)
    await writeFile(users, htpasswd({ alice: long }))

    expect(await signIn('alice', long + 'b'.repeat(2000))).toEqual([undefined, 'foreign'])
  })

  test.each([
    ['nothing', undefined, undefined],
    ['empty name and password, as podman sends it', 'Basic Og==', 'foreign'],
    ['no base64', 'Basic ???', 'foreign'],
    ['another scheme', 'Digest username="alice"', 'foreign'],
    ["somebody else's token", 'Bearer eyJhbGciOiJSUzI1NiJ9.e30.AAAA', 'foreign'],
    ['no token at all', 'Bearer x', 'foreign'],
    ['text', 'alice', 'foreign'],
  ])('%s is none', async (_case, authorization, kind) => {
    expect(await kindOf(authorization)).toEqual([undefined, kind])
  })

  test('after ten wrong ones an address waits, with the right one too, and no other address does', async () => {
    for (let i = 0; i < 10; i++) expect(await signIn('alice', `guess ${i}`)).toEqual([undefined, 'foreign'])

    expect((await login.identify(basic('alice', 'secret'), NEAR, false)).credential).toEqual({
      kind: 'throttled',
      why: 'failures',
      retryAfterSeconds: 6,
    })
    expect(await signIn('alice', 'secret', { address: '192.0.2.2' })).toEqual(['alice', 'password'])
    time += 6_000
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])
  })

  test('many guesses at once are no way around that', async () => {
    const kinds = await Promise.all(Array.from({ length: 50 }, (_, i) => signIn('alice', `guess ${i}`)))

    expect(kinds.filter(([, kind]) => kind === 'foreign')).toHaveLength(10)
  })

  test('right ones count for nothing, new or known', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `user${i}`)
    await writeFile(users, htpasswd(Object.fromEntries([...names, 'alice', 'bob'].map((name) => [name, 'geheim']))))
    for (const name of names) expect(await signIn(name, 'geheim')).toEqual([name, 'password'])
    for (let i = 0; i < 30; i++) expect(await signIn('bob', 'geheim')).toEqual(['bob', 'password'])

    expect(await signIn('alice', 'geheim')).toEqual(['alice', 'password'])
  })

  test('right ones at once are all right, of one user or of many, and when they are forgotten again', async () => {
    const names = Array.from({ length: 30 }, (_, i) => `user${i}`)
    await writeFile(users, htpasswd(Object.fromEntries([...names, 'alice'].map((name) => [name, 'geheim']))))
    const many = [...names, ...Array<string>(30).fill('alice')]

    for (let i = 0; i < 2; i++) {
      const kinds = await Promise.all(many.map((name) => signIn(name, 'geheim')))
      expect(kinds).toEqual(many.map((name) => [name, 'password']))
      time += 5 * 60_000 + 1
    }
  })

  test('one that is known is right while more are checked than can be in good time', async () => {
    await signIn('alice', 'secret')

    const flood = Array.from({ length: 130 }, (_, i) =>
      login.identify(basic('bob', `guess ${i}`), { address: `198.51.100.${i}` }, false),
    )

    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])
    const refused = (await Promise.all(flood)).filter(({ credential }) => credential?.kind === 'throttled')
    expect(refused.length).toBeGreaterThan(10)
    // Nobody of them has guessed before.
    for (const { credential } of refused) expect(credential).toMatchObject({ why: 'overload', retryAfterSeconds: 1 })
  })

  test('the same wrong one many times at once counts each time, and where everybody may, once', async () => {
    const guess = (password: string, spare: boolean) =>
      Promise.all(Array.from({ length: 15 }, () => signIn('alice', password, NEAR, spare)))
    expect(await guess('one', true)).toEqual(Array(15).fill([undefined, 'foreign']))
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])

    expect(await guess('two', false)).toEqual(Array(15).fill([undefined, 'foreign']))

    expect(await signIn('alice', 'secret')).toEqual([undefined, 'throttled'])
  })

  test('one wrong one again and again is held against nobody where everybody may, and else it is', async () => {
    for (let i = 0; i < 50; i++) expect(await signIn('hubuser', 'hubtoken', NEAR, true)).toEqual([undefined, 'foreign'])
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])

    for (let i = 0; i < 9; i++) await signIn('hubuser', 'hubtoken')

    expect(await signIn('alice', 'secret')).toEqual([undefined, 'throttled'])
  })

  test('of IPv6 the network counts', async () => {
    for (let i = 0; i < 10; i++) await signIn('alice', `guess ${i}`, { address: `2001:db8:0:1::${i}` })

    expect(await signIn('alice', 'secret', { address: '2001:db8::1:a:b:c:d' })).toEqual([undefined, 'throttled'])
    expect(await signIn('alice', 'secret', { address: '2001:db8:0:2::1' })).toEqual(['alice', 'password'])
  })

  test('behind a proxy the client counts, and the proxy for much more', async () => {
    const behind = (client: string) => ({ address: '10.0.0.1', forwardedFor: client })
    for (let i = 0; i < 10; i++) await signIn('alice', `guess ${i}`, behind('192.0.2.1'))
    expect(await signIn('alice', 'secret', behind('192.0.2.1'))).toEqual([undefined, 'throttled'])
    expect(await signIn('alice', 'secret', behind('192.0.2.2'))).toEqual(['alice', 'password'])

    for (let i = 0; i < 190; i++) await signIn('alice', `again ${i}`, behind(`198.51.100.${i}`))

    expect(await signIn('alice', 'secret', behind('192.0.2.3'))).toEqual([undefined, 'throttled'])
  })

  test.each(['127.0.0.1', '::1', '::ffff:127.0.0.1'])(
    'behind a proxy on this machine (%s) many wrong ones of many keep nobody else out',
    async (address) => {
      const behind = (client: string) => ({ address, forwardedFor: client })
      for (let i = 0; i < 210; i++) await signIn('alice', `guess ${i}`, behind(`198.51.100.${i}`))

      expect(await signIn('alice', 'secret', behind('192.0.2.1'))).toEqual(['alice', 'password'])
      for (let i = 0; i < 10; i++) await signIn('alice', `guess ${i}`, behind('192.0.2.1'))
      expect(await signIn('alice', 'secret', behind('192.0.2.1'))).toEqual([undefined, 'throttled'])
    },
  )

  test('whoever only says to speak for a client throttles that one nowhere else', async () => {
    for (let i = 0; i < 20; i++)
      await signIn('alice', `guess ${i}`, { address: '10.0.0.66', forwardedFor: '192.0.2.1' })

    expect(await signIn('alice', 'secret', { address: '10.0.0.1', forwardedFor: '192.0.2.1' })).toEqual([
      'alice',
      'password',
    ])
    expect(await signIn('alice', 'secret', { address: '192.0.2.1' })).toEqual(['alice', 'password'])
    expect(await signIn('alice', 'secret', { address: '10.0.0.66' })).toEqual(['alice', 'password'])
  })

  test('of a proxy with an IPv6 address the network counts too', async () => {
    const behind = (i: number, client: string) => ({ address: `fd00:0:0:1::${i}`, forwardedFor: client })
    for (let i = 0; i < 200; i++) await signIn('alice', `guess ${i}`, behind(i, `198.51.100.${i}`))

    expect(await signIn('alice', 'secret', behind(999, '192.0.2.1'))).toEqual([undefined, 'throttled'])
    expect(await signIn('alice', 'secret', { address: 'fd00:0:0:2::1', forwardedFor: '192.0.2.1' })).toEqual([
      'alice',
      'password',
    ])
  })
})

describe('the file of users', () => {
  test('counts as it is now', async () => {
    await signIn('alice', 'secret')

    await writeFile(users, htpasswd({ alice: 'another', carol: 'new' }))

    expect(await signIn('alice', 'secret')).toEqual([undefined, 'foreign'])
    expect(await signIn('alice', 'another')).toEqual(['alice', 'password'])
    expect(await signIn('carol', 'new')).toEqual(['carol', 'password'])
    expect(await signIn('bob', 'geheim')).toEqual([undefined, 'foreign'])
  })

  test('that turned bad, or is gone, is told once, and what it was counts on', async () => {
    await signIn('bob', 'geheim')
    await writeFile(users, 'alice:$apr1$x$y\n')
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])
    await utimes(users, 1, 1)
    expect(await signIn('alice', 'secret')).toEqual(['alice', 'password'])
    await rm(users)
    expect(await signIn('bob', 'geheim')).toEqual(['bob', 'password'])

    expect(lines).toEqual([
      expect.objectContaining({
        level: 50,
        at: `${users}:1`,
        reason: expect.stringContaining('MD5'),
        msg: expect.stringContaining('auth.htpasswd cannot be used as it is now'),
      }),
    ])
    await writeFile(users, htpasswd({ alice: 'another' }))
    expect(await signIn('alice', 'another')).toEqual(['alice', 'password'])
    await rm(users)
    await signIn('alice', 'another')
    expect(lines).toHaveLength(2)
  })

  test('that does not have the users of the rules is told', async () => {
    login.configure({
      htpasswd: users,
      access: [{ repositories: '**', users: ['alice', 'dave', 'anonymous'], actions: ['pull'] }],
      admins: ['erin', 'bob'],
    })

    await expect.poll(() => lines).toEqual([expect.objectContaining({ level: 40, users: ['dave', 'erin'] })])
  })
})

describe('a token', () => {
  const grants = [{ type: 'repository', name: 'local/app', actions: ['pull'] }]
  const issue = async (user: string | undefined) => `Bearer ${(await login.issue({ user, grants })).token}`
  const check = (authorization: string) => login.identify(authorization, NEAR, false)

  test('says who has it and what it is for, for five minutes and a little', async () => {
    const token = await issue('alice')

    expect(await check(token)).toEqual({ user: 'alice', credential: { kind: 'token', grants } })
    time += 329_000
    expect(await kindOf(token)).toEqual(['alice', 'token'])
    time += 2_000
    expect(await kindOf(token)).toEqual([undefined, 'foreign'])
  })

  test('that is nobody’s is a token all the same', async () => {
    expect(await check(await issue(undefined))).toEqual({ user: undefined, credential: { kind: 'token', grants } })
  })

  test('of which one letter differs is none', async () => {
    const token = await issue('alice')
    const [head, body, signature] = token.slice(7).split('.') as [string, string, string]
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
    const forged = Buffer.from(JSON.stringify({ ...claims, sub: 'bob' })).toString('base64url')
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')

    expect(await kindOf(`Bearer ${head}.${forged}.${signature}`)).toEqual([undefined, 'foreign'])
    expect(await kindOf(`Bearer ${none}.${body}.`)).toEqual([undefined, 'foreign'])
  })

  test('is good after a restart, and the key is for its owner alone', async () => {
    const token = await issue('alice')

    login = build()

    expect(await kindOf(token)).toEqual(['alice', 'token'])
    expect((await stat(join(folder, 'token-key.pem'))).mode & 0o777).toBe(0o600)
  })

  test('is none where the key is damaged: another one is made, and that is told', async () => {
    const token = await issue('alice')
    await writeFile(join(folder, 'token-key.pem'), 'garbage')

    login = build()

    expect(await kindOf(token)).toEqual([undefined, 'foreign'])
    expect(await kindOf(await issue('alice'))).toEqual(['alice', 'token'])
    expect(await readFile(join(folder, 'token-key.pem'), 'utf8')).toContain('PRIVATE KEY')
    expect(lines).toEqual([expect.objectContaining({ msg: expect.stringContaining('made anew') })])
  })

  test('is nobody’s when its user is gone', async () => {
    const token = await issue('bob')
    await signIn('bob', 'geheim')
    await writeFile(users, htpasswd({ alice: 'secret' }))
    await signIn('alice', 'secret')

    expect(await kindOf(token)).toEqual([undefined, 'foreign'])
  })
})

test('no password and no token is in the log', async () => {
  await signIn('alice', 'secret')
  await signIn('alice', 'wrongpassword')
  const { token } = await login.issue({ user: 'alice', grants: [] })
  await kindOf(`Bearer ${token}`)
  await writeFile(users, 'alice:plainpassword\n')
  await signIn('alice', 'secret')

  expect(JSON.stringify(lines)).not.toMatch(/secret|wrongpassword|plainpassword/)
  expect(JSON.stringify(lines)).not.toContain(token)
})
