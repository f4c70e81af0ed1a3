import { beforeEach, describe, expect, test } from 'vitest'
import { type Accounts, createAccounts } from '../../src/upstream/accounts.js'
import { AddressGuard } from '../../src/upstream/address-guard.js'
import { UpstreamError } from '../../src/upstream/errors.js'
import { LoginRefusedError, TokenSource } from '../../src/upstream/token-source.js'
import { Watch } from '../helpers/upstream.js'

const START = Date.UTC(2030, 0, 1)
const HOUR = 3_600_000
const REPOSITORY = 'library/app'

let now: number
let watch: Watch
beforeEach(() => {
  now = START
  watch = new Watch()
})

function accountsOf(count: number, rateLimitReserve = 0.1): Accounts {
  return createAccounts({
    upstream: 'hub',
    registry: 'docker.io',
    url: new URL('https://hub.test'),
    tokens: new TokenSource({ now: () => now, timeoutMs: 100 }),
    guard: new AddressGuard({ ownHost: 'hub.test', allowInternal: false }),
    credentials: Array.from({ length: count }, (_, at) => ({ username: `user${at + 1}`, password: 'secret' })),
    rateLimitReserve,
    log: watch.log,
    now: () => now,
  })
}

const quota = (remaining: number, source?: string) => ({
  'ratelimit-limit': '100;w=21600',
  'ratelimit-remaining': `${remaining};w=21600`,
  ...(source && { 'docker-ratelimit-source': source }),
})
const limited = (retryAfterMs?: number) =>
  new UpstreamError('limited', 'answered 429', { upstream: 'hub', retryAfterMs })
const used = (accounts: Accounts, repository = REPOSITORY) => accounts.pick(repository).number

describe('several accounts', () => {
  test('are used in order: one that is limited rests for as long as it was told, then has its turn again', () => {
    const accounts = accountsOf(3)
    accounts.failed(accounts.pick(REPOSITORY), REPOSITORY, limited(30_000))
    const meanwhile = used(accounts)
    now += 30_000

    expect(meanwhile).toBe(2)
    expect(used(accounts)).toBe(1)
    expect(watch.lines).toMatchObject([{ account: 1, forMs: 30_000, reason: 'answered 429' }])
    expect(JSON.stringify(watch.lines)).not.toMatch(/user1|secret/)
  })

  test('all limited: the failure says when the first of them can be used', () => {
    const accounts = accountsOf(2)
    const first = accounts.pick(REPOSITORY)
    accounts.failed(first, REPOSITORY, limited(30_000))
    const second = accounts.another(REPOSITORY, new Set([first]))!
    now += 1000

    expect(accounts.failed(second, REPOSITORY, limited(90_000))).toMatchObject({
      kind: 'limited',
      upstream: 'hub',
      retryAfterMs: 29_000,
    })
    expect(accounts.another(REPOSITORY, new Set([first, second]))).toBeUndefined()
    expect(used(accounts)).toBe(1)
  })

  test('that the upstream counts as one rest together', () => {
    const accounts = accountsOf(3)
    const first = accounts.pick(REPOSITORY)
    const second = accounts.another(REPOSITORY, new Set([first]))!
    for (const account of [first, second]) accounts.answered(account, quota(50, '192.0.2.1'))

    accounts.failed(first, REPOSITORY, limited(30_000))

    expect(used(accounts)).toBe(3)
  })

  test('one whose login is refused rests for every repository, one that is denied a repository for that one', () => {
    const accounts = accountsOf(3)
    const login = new LoginRefusedError('denied', 'the token service answered 401')
    accounts.failed(accounts.pick(REPOSITORY), REPOSITORY, login)
    accounts.failed(accounts.pick(REPOSITORY), REPOSITORY, new UpstreamError('denied', 'answered 401'))

    expect([used(accounts), used(accounts, 'library/other')]).toEqual([3, 2])
    now += 10 * 60_000
    expect([used(accounts), used(accounts, 'library/other')]).toEqual([1, 1])
  })

  test('one with enough left is used before one that has little, and its quota is the one that is told', () => {
    const accounts = accountsOf(2)
    const first = accounts.pick(REPOSITORY)
    accounts.answered(first, quota(10))
    accounts.answered(accounts.another(REPOSITORY, new Set([first]))!, quota(60))

    expect(used(accounts)).toBe(2)
    expect(accounts.rateLimit).toEqual({ limit: 100, remaining: 60, windowSeconds: 21_600 })
    expect(accounts.quotaLow).toBe(false)
  })
})

describe('the quota of an only account', () => {
  test.each([
    [11, 0.1, false],
    [10, 0.1, true],
    [0, 0.1, true],
    [0, 0, false],
    [50, 0.5, true],
  ])('%i of 100 left with a reserve of %d: low is %s', (remaining, reserve, low) => {
    const accounts = accountsOf(1, reserve)

    accounts.answered(accounts.pick(REPOSITORY), quota(remaining))

    expect(accounts.quotaLow).toBe(low)
  })

  test('is forgotten when its window has passed, and an answer without the headers changes nothing', () => {
    const accounts = accountsOf(1)
    accounts.answered(accounts.pick(REPOSITORY), quota(3))
    accounts.answered(accounts.pick(REPOSITORY), {})
    now += 5 * HOUR
    const within = [accounts.quotaLow, accounts.rateLimit?.remaining]
    now += HOUR

    expect(within).toEqual([true, 3])
    expect([accounts.quotaLow, accounts.rateLimit]).toEqual([false, undefined])
  })

  test('or its failures make no other account of it: it is used, and the failure is the upstream’s', () => {
    const accounts = accountsOf(1)
    const failure = limited(30_000)

    expect(accounts.failed(accounts.pick(REPOSITORY), REPOSITORY, failure)).toBe(failure)
    expect(used(accounts)).toBe(1)
    expect(accounts.another(REPOSITORY, new Set([accounts.pick(REPOSITORY)]))).toBeUndefined()
  })
})
