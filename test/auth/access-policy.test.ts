import { describe, expect, test } from 'vitest'
import { AccessPolicy, NOBODY, notChecked, type Subject, type Verdict } from '../../src/auth/access-policy.js'
import type { Action } from '../../src/auth/access-rules.js'

const ALL: Action[] = ['pull', 'push', 'delete']
const ACCESS = [
  { repositories: 'local/**', users: ['anonymous'], actions: ['pull'] },
  { repositories: 'local/**', actions: ['push'] },
  { repositories: 'local/team-a/**', users: ['alice'], actions: ALL },
  { repositories: 'local/team-a/**', users: ['bob'], actions: ['pull'] },
  { repositories: 'local/team-a/shared', users: ['anonymous'], actions: ['pull'] },
  { repositories: 'local/team-*', users: ['carol'], actions: ['pull'] },
  { repositories: 'docker.io/secret/**', users: ['alice'], actions: ['pull'] },
  { repositories: 'docker.io/secret/*', users: ['bob'], actions: ['pull'] },
  { repositories: 'ghcr.io/locked/**', actions: [] },
  { repositories: 'ghcr.io/org/app*', users: ['bob'], actions: ['pull'] },
  { repositories: 'ghcr.io/org/app', users: ['alice'], actions: ['pull'] },
] satisfies { repositories: string; users?: string[]; actions: Action[] }[]

describe('who may do what', () => {
  const policy = new AccessPolicy({ anonymous: ['pull'], access: ACCESS, login: true })

  test.each<[string, string | undefined, string, Action[]]>([
    ['what no rule speaks of is as anonymous says', undefined, 'docker.io/library/nginx', ['pull']],
    ['and no more for a user, once there are rules', 'alice', 'docker.io/library/nginx', ['pull']],
    ['a rule for everybody', undefined, 'local/app', ['pull']],
    ['a rule for every user adds to it, having the same pattern', 'bob', 'local/app', ['pull', 'push']],
    ['the longest beginning counts alone', 'bob', 'local/team-a/app', ['pull']],
    ['for one user all', 'alice', 'local/team-a/app', ALL],
    ['for a user that it does not name nothing', 'carol', 'local/team-a/app', []],
    ['nor for nobody', undefined, 'local/team-a/app', []],
    ['a whole name is longer than a pattern', undefined, 'local/team-a/shared', ['pull']],
    ['and counts alone, for those too who might do more above it', 'alice', 'local/team-a/shared', ['pull']],
    ['* ends at a slash', 'carol', 'local/team-b', ['pull']],
    ['and beyond it the next longest counts', 'carol', 'local/team-b/app', ['pull', 'push']],
    ['of equally long ones the first in the file counts', 'alice', 'docker.io/secret/app', ['pull']],
    ['and the second does not', 'bob', 'docker.io/secret/app', []],
    ['but a whole name comes before a pattern', 'alice', 'ghcr.io/org/app', ['pull']],
    ['which does not count for it', 'bob', 'ghcr.io/org/app', []],
    ['no action at all locks', 'alice', 'ghcr.io/locked/app', []],
  ])('%s: %s, %s', (_case, user, repository, actions) => {
    expect(ALL.filter((action) => policy.may({ loopback: true, user }, action, repository))).toEqual(actions)
  })

  test('the order of the rules does not count where the patterns differ in length', () => {
    const turned = new AccessPolicy({ anonymous: ['pull'], access: [...ACCESS].reverse(), login: true })

    for (const repository of ['local/app', 'local/team-a/app', 'local/team-a/shared', 'local/team-b'])
      for (const user of [undefined, 'alice', 'bob', 'carol'])
        expect(ALL.map((action) => turned.may({ loopback: false, user }, action, repository))).toEqual(
          ALL.map((action) => policy.may({ loopback: false, user }, action, repository)),
        )
  })

  test.each<[string, ConstructorParameters<typeof AccessPolicy>[0], Subject, Action[]]>([
    ['without auth everybody pulls', {}, NOBODY, ['pull']],
    ['and this machine does everything', {}, { loopback: true }, ALL],
    ['with auth this machine is like any other', { anonymous: ['pull'] }, { loopback: true }, ['pull']],
    ['pushing does not mean deleting', { anonymous: ['pull', 'push'] }, NOBODY, ['pull', 'push']],
    ['without rules a user does everything', { anonymous: [], login: true }, { loopback: false, user: 'bob' }, ALL],
    ['and nobody nothing', { anonymous: [], login: true }, NOBODY, []],
  ])('%s', (_case, settings, subject, actions) => {
    const policy = new AccessPolicy(settings)

    expect(ALL.filter((action) => policy.may(subject, action, 'local/app'))).toEqual(actions)
  })
})

describe('what becomes of a request', () => {
  const policy = new AccessPolicy({
    anonymous: ['pull'],
    access: [
      { repositories: 'local/private', users: ['alice'], actions: ALL },
      { repositories: 'local/**', users: ['anonymous'], actions: ['pull'] },
    ],
    login: true,
  })
  const token = (user: string | undefined, name: string, ...actions: Action[]): Subject => ({
    loopback: true,
    user,
    credential: { kind: 'token', grants: [{ type: 'repository', name, actions }] },
  })
  const password = (user: string): Subject => ({ loopback: true, user, credential: { kind: 'password' } })
  const foreign: Subject = { loopback: true, credential: { kind: 'foreign' } }
  const throttled: Subject = {
    loopback: true,
    credential: { kind: 'throttled', why: 'failures', retryAfterSeconds: 6 },
  }

  test.each<[string, Subject, Action, string, Verdict]>([
    ['no credential, though everybody may', { loopback: true }, 'pull', 'local/open', 'challenge'],
    ['no credential', { loopback: true }, 'pull', 'local/private', 'challenge'],
    ["nobody's token for it", token(undefined, 'local/open', 'pull'), 'pull', 'local/open', 'allow'],
    ["nobody's token for another", token(undefined, 'local/other', 'pull'), 'pull', 'local/open', 'insufficient'],
    ["nobody's token, to push", token(undefined, 'local/open', 'pull'), 'push', 'local/open', 'insufficient'],
    ["nobody's token, private", token(undefined, 'local/private', 'pull'), 'pull', 'local/private', 'insufficient'],
    ["a user's token", token('alice', 'local/private', 'pull'), 'pull', 'local/private', 'allow'],
    [
      "a user's token that is too small",
      token('alice', 'local/private', 'pull'),
      'push',
      'local/private',
      'insufficient',
    ],
    ["another user's token, whatever it says", token('bob', 'local/private', 'pull'), 'pull', 'local/private', 'deny'],
    ['a password', password('alice'), 'delete', 'local/private', 'allow'],
    ["another user's password", password('bob'), 'pull', 'local/private', 'deny'],
    ['what is not ours, where everybody may', foreign, 'pull', 'local/open', 'allow'],
    ['what is not ours, where not', foreign, 'push', 'local/open', 'foreign'],
    ['too many failures, where everybody may', throttled, 'pull', 'local/open', 'allow'],
    ['too many failures, where not', throttled, 'pull', 'local/private', 'foreign'],
  ])('%s', (_case, subject, action, repository, verdict) => {
    expect(policy.judge(subject, { action, repository, names: [] })).toBe(verdict)
  })

  test('a token may know the repository by the name in the path', () => {
    const need = { action: 'pull', repository: 'docker.io/library/nginx', names: ['nginx'] } as const

    expect(policy.judge(token(undefined, 'nginx', 'pull'), need)).toBe('allow')
    expect(policy.judge(token(undefined, 'docker.io/library/nginx', 'pull'), need)).toBe('allow')
    expect(policy.judge(token(undefined, 'nginx', 'pull'), { ...need, names: [] })).toBe('insufficient')
  })
})

describe('who administers', () => {
  const check = (settings: ConstructorParameters<typeof AccessPolicy>[0], subject: Subject): string => {
    try {
      new AccessPolicy(settings).checkAdmin(subject)
      return 'may'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  const withAdmins = { anonymous: ['pull'], login: true, admins: ['alice'] } satisfies object as {
    anonymous: Action[]
    login: boolean
    admins: string[]
  }

  test.each<[string, ConstructorParameters<typeof AccessPolicy>[0], Subject, string]>([
    ['without auth this machine', {}, { loopback: true }, 'may'],
    ['and no other', {}, NOBODY, 'DENIED'],
    ['without admins this machine', { anonymous: ['pull'], login: true }, { loopback: true }, 'may'],
    [
      'and no user from elsewhere',
      { login: true },
      { ...NOBODY, user: 'bob', credential: { kind: 'password' } },
      'DENIED',
    ],
    ['with admins not even this machine', withAdmins, { loopback: true }, 'UNAUTHORIZED'],
    ['one of them', withAdmins, { ...NOBODY, user: 'alice', credential: { kind: 'password' } }, 'may'],
    [
      'not by a token, which is for repositories',
      withAdmins,
      { ...NOBODY, user: 'alice', credential: { kind: 'token', grants: [] } },
      'UNAUTHORIZED',
    ],
    ['no other user', withAdmins, { ...NOBODY, user: 'bob', credential: { kind: 'password' } }, 'DENIED'],
    [
      'nobody who guesses',
      withAdmins,
      { ...NOBODY, credential: { kind: 'throttled', why: 'failures', retryAfterSeconds: 6 } },
      'TOOMANYREQUESTS',
    ],
  ])('%s', (_case, settings, subject, result) => {
    expect(check(settings, subject)).toBe(result)
  })
})

test.each([
  ['failures', 'too many wrong passwords from this address: wait 6 s'],
  ['overload', 'more passwords come in than can be checked, and this one was not looked at: wait 6 s'],
] as const)('whose password was not looked at is told why: %s', (why, message) => {
  expect(notChecked({ kind: 'throttled', why, retryAfterSeconds: 6 })).toMatchObject({
    code: 'TOOMANYREQUESTS',
    message,
    headers: { 'retry-after': '6' },
  })
})
