import { hashSync } from '@node-rs/bcrypt'
import { beforeEach, describe, expect, test } from 'vitest'
import { Passwords } from '../../src/auth/passwords.js'
import type { Users } from '../../src/lib/htpasswd.js'

describe('where the hashes of some users are cheaper than those of others', () => {
  let passwords: Passwords
  beforeEach(() => {
    passwords = new Passwords({ now: () => 0 })
  })

  /** Processor time, which no other program on the machine has a part in, milliseconds. */
  async function costOf(users: Users, name: string, password: string, right = false): Promise<number> {
    const before = process.cpuUsage()
    expect(await passwords.check(users, name, password)).toBe(right)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }

  test('a refusal costs as much as the dearest, whoever is named; a right password what it does', async () => {
    const users = new Map([
      ['alice', hashSync('secret', 4)],
      ['bob', hashSync('geheim', 11)],
    ])
    const dearest = await costOf(users, 'bob', 'geheim', true)

    for (const name of ['alice', 'bob', 'carol', 'dave', 'erin', 'frank'])
      expect(await costOf(users, name, 'wrong')).toBeGreaterThan(dearest / 3)
    expect(await costOf(users, 'alice', 'a'.repeat(2000))).toBeGreaterThan(dearest / 3)
    expect(await costOf(users, 'alice', 'secret', true)).toBeLessThan(dearest / 3)
  })

  test('names that nobody has differ by it as those of users do', async () => {
    const users = new Map([
      ['alice', hashSync('secret', 8)],
      ['bob', hashSync('geheim', 9)],
    ])

    const costs: number[] = []
    for (let i = 0; i < 20; i++) costs.push(await costOf(users, `nobody${i}`, 'wrong'))

    expect(Math.max(...costs)).toBeGreaterThan(1.25 * Math.min(...costs))
  })

  test('without a user there is a check all the same', async () => {
    expect(await costOf(new Map(), 'alice', 'secret')).toBeGreaterThan(5)
  })
})
