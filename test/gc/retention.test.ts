import { describe, expect, test } from 'vitest'
import { expiredTags, type RetentionRule, retentionFor } from '../../src/gc/retention.js'
import type { Tag } from '../../src/oci/reference.js'

const DAY = 86_400_000
const NOW = 100 * DAY

/** Tags by their age in days. */
const tags = (ages: Record<string, number>) =>
  Object.entries(ages).map(([tag, days]) => ({ tag: tag as Tag, taggedAt: NOW - days * DAY }))

const rule = (parts: Partial<RetentionRule>): RetentionRule => ({ repositories: '**', keepTags: [], ...parts })

describe('the tags that go', () => {
  const builds = tags({ b1: 50, b2: 40, b3: 30, b4: 20, v1: 60, v2: 10 })

  test.each<[string, Partial<RetentionRule>, string[]]>([
    ['without a limit none', { keepTags: ['v*'] }, []],
    ['with a rule on untagged manifests alone none', { untaggedMs: 0 }, []],
    ['beyond the newest', { keepLast: 4 }, ['b1', 'v1']],
    ['beyond none at all', { keepLast: 0 }, ['b1', 'b2', 'b3', 'b4', 'v1', 'v2']],
    ['older than', { olderThanMs: 30 * DAY }, ['b1', 'b2', 'v1']],
    ['beyond the newest and older than', { keepLast: 4, olderThanMs: 55 * DAY }, ['v1']],
    ['of those that no pattern keeps', { keepLast: 1, keepTags: ['v*'] }, ['b1', 'b2', 'b3']],
    ['of several patterns', { keepLast: 0, keepTags: ['v*', '*4'] }, ['b1', 'b2', 'b3']],
  ])('%s', (_case, parts, gone) => {
    expect([...expiredTags(builds, rule(parts), NOW).keys()].sort()).toEqual(gone)
  })

  test('of those put at the same moment the last by name stay', () => {
    const same = tags({ a: 1, c: 1, b: 1 })

    expect([...expiredTags(same, rule({ keepLast: 1 }), NOW).keys()].sort()).toEqual(['a', 'b'])
  })

  test.each(['', '.sig', '.att', '.sbom'])(
    'are never those of signatures and the like (%s), nor are they counted',
    (end) => {
      const attached = tags({ b1: 30, v1: 40, [`sha256-${'a'.repeat(64)}${end}`]: 20, b2: 10 })

      expect([...expiredTags(attached, rule({ keepLast: 2, olderThanMs: DAY }), NOW).keys()]).toEqual(['v1'])
    },
  )

  test('come with the reason', () => {
    const gone = expiredTags(builds, rule({ keepLast: 4, olderThanMs: 55 * DAY }), NOW)

    expect(gone.get('v1' as Tag)).toBe('not among the newest 4 and older than 55 d')
  })
})

describe('the rule of a repository', () => {
  const ruleFor = retentionFor([
    rule({ repositories: '**', keepLast: 1 }),
    rule({ repositories: 'local/ci/**', keepLast: 2 }),
    rule({ repositories: 'local/*/**', keepLast: 3 }),
    rule({ repositories: 'local/ci/app', keepLast: 4 }),
    rule({ repositories: 'local/ci/*', keepLast: 5 }),
  ])

  test.each([
    ['team/app', 1],
    ['local/ci/other', 2],
    ['local/x/y', 3],
    ['local/ci/app', 4],
  ])('%s is the one with the longest beginning, of equals the first', (repository, keepLast) => {
    expect(ruleFor(repository)?.keepLast).toBe(keepLast)
  })

  test('is none where none matches', () => {
    expect(retentionFor([rule({ repositories: 'local/ci/*' })])('local/app')).toBeUndefined()
  })
})
