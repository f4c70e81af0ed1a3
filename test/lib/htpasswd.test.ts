import { describe, expect, test } from 'vitest'
import { parseHtpasswd } from '../../src/lib/htpasswd.js'
import { withoutUser, withUser } from '../../src/lib/htpasswd-edit.js'

const HASH = `$2y$10$${'a'.repeat(53)}`

describe('reading a file of users', () => {
  test.each(['$2y$', '$2a$', '$2b$'])('%s is bcrypt', (kind) => {
    const hash = HASH.replace('$2y$', kind)

    expect(parseHtpasswd(`alice:${hash}\n`)).toEqual({ users: new Map([['alice', hash]]), faults: [] })
  })

  test('comments, empty lines and the line ends of Windows are passed over', () => {
    const { users, faults } = parseHtpasswd(`# users\r\n\r\nalice:${HASH}\r\n  \nbob:${HASH}`)

    expect([[...users.keys()], faults]).toEqual([['alice', 'bob'], []])
  })

  test.each([
    ['MD5', 'eve:$apr1$abcdefgh$abcdefghijklmnopqrstuv', 'MD5 is no bcrypt hash'],
    ['SHA-1', 'eve:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=', 'SHA-1 is no bcrypt hash'],
    ['SHA-512', 'eve:$6$salt$geheim', 'SHA-512 is no bcrypt hash'],
    ['crypt or plain text', 'eve:geheim', 'this is no bcrypt hash'],
    ['half a hash', `eve:${HASH.slice(0, 40)}`, 'this is no bcrypt hash'],
    ['a cost that takes for ever', `eve:${HASH.replace('$10$', '$31$')}`, 'a bcrypt cost above 16'],
    ['no colon', 'eve', 'no colon between a name and a hash'],
    ['no name', `:${HASH}`, 'a name is 1 to 128 characters'],
    ['the name of everybody', `anonymous:${HASH}`, 'anonymous stands for everybody'],
    ['a user again', `alice:${HASH}`, 'a second line of the same user'],
  ])('%s is a fault of its line, which quotes nothing of it', (_case, line, message) => {
    const { users, faults } = parseHtpasswd(`alice:${HASH}\n\n${line}\n`)

    expect(faults).toEqual([{ line: 3, message: expect.stringContaining(message) }])
    expect(faults[0]!.message).not.toMatch(/geheim|\beve\b|aaaa/)
    expect([...users.keys()]).toEqual(['alice'])
  })
})

describe('changing one', () => {
  const text = `# ours\nalice:${HASH}\n\nbob:old\nbobby:old`

  test.each([
    ['a new user comes last', 'carol', `${text}\ncarol:new\n`],
    ['a known one stays in its place', 'bob', text.replace('bob:old', 'bob:new').concat('\n')],
  ])('%s, and other lines stay', (_case, name, changed) => {
    expect(withUser(text, name, 'new')).toBe(changed)
  })

  test('the first user makes a file', () => {
    expect(withUser('', 'alice', 'new')).toBe('alice:new\n')
  })

  test('a user goes, and others stay', () => {
    expect(withoutUser(text, 'bob')).toBe(`# ours\nalice:${HASH}\n\nbobby:old\n`)
    expect(withoutUser(text, 'carol')).toBeUndefined()
  })
})
