import { describe, expect, test } from 'vitest'
import { isFresh, isServedMeanwhile, mayBeStale } from '../../src/cache/freshness.js'
import { tagPolicies } from '../../src/cache/tag-policies.js'
import type { TagRecord } from '../../src/cache/tag-record.js'
import { digestOf } from '../../src/oci/digest.js'

const COMMON = {
  ttlMs: 300,
  staleIfErrorMs: 1000,
  originHoldMs: 50,
  staleWhileRevalidateMs: 100,
  whenGone: 'serve' as const,
}
const policyOf = tagPolicies({
  ...COMMON,
  rules: [
    { match: 'v*', repository: 'org/*', immutable: true },
    { match: '*-nightly', immutable: false, ttlMs: 0, staleIfErrorMs: 10 },
    { match: 'v*', immutable: false, ttlMs: 7, whenGone: 'forget' },
  ],
})

test.each([
  ['library/nginx', 'latest', {}],
  ['org/app', 'v1', { immutable: true }],
  ['org/app', 'v1-nightly', { immutable: true }],
  ['org/deep/app', 'v1', { ttlMs: 7, whenGone: 'forget' }],
  ['library/nginx', 'v1.2.3', { ttlMs: 7, whenGone: 'forget' }],
  ['library/nginx', 'v1-nightly', { ttlMs: 0, staleIfErrorMs: 10 }],
  ['library/nginx', 'rev1', {}],
])('%s:%s: the first rule that matches, and what it leaves out is as everywhere', (repository, tag, expected) => {
  expect(policyOf(repository, tag)).toEqual({ ...COMMON, immutable: false, ...expected })
})

describe('a record', () => {
  const record: TagRecord = {
    digest: digestOf(Buffer.from('a')),
    checkedAt: 1_000_000,
    resolvedBy: 'origin',
    source: 'hub',
    earlier: [],
  }
  const byMirror: TagRecord = { ...record, resolvedBy: 'mirror' }
  const policy = policyOf('library/nginx', 'latest')
  const immutable = policyOf('org/app', 'v1')
  const at = (age: number) => record.checkedAt + age

  test.each([
    [0, true],
    [1_000_000_000, true],
    [-1_000_000_000, true],
  ])('of an immutable tag that an origin resolved is fresh at the age of %i', (age, fresh) => {
    expect(isFresh(record, at(age), immutable, true)).toBe(fresh)
  })

  test('of an immutable tag that a mirror resolved is asked of the origin, and ages while there is none', () => {
    expect(isFresh(byMirror, at(0), immutable, true)).toBe(false)
    expect([isFresh(byMirror, at(299), immutable, false), isFresh(byMirror, at(300), immutable, false)]).toEqual([
      true,
      false,
    ])
  })

  test.each([
    [299, true],
    [399, true],
    [400, false],
    [-500, false],
  ])('at the age of %i may be served while it is asked for: %s', (age, expected) => {
    expect(isServedMeanwhile(record, at(age), policy)).toBe(expected)
    expect(isServedMeanwhile(byMirror, at(age), policy)).toBe(false)
    expect(isServedMeanwhile(record, at(age), { ...policy, staleWhileRevalidateMs: 0 })).toBe(false)
  })

  test('is too old to be served without an answer by its own rule', () => {
    expect([
      mayBeStale(record, at(9), policyOf('a/b', 'x-nightly')),
      mayBeStale(record, at(10), policyOf('a/b', 'x-nightly')),
    ]).toEqual([true, false])
  })
})
