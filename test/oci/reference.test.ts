import { describe, expect, test } from 'vitest'
import {
  isTag,
  parseReference,
  parseRepository,
  parseTag,
  printReference,
  referenceOf,
} from '../../src/oci/reference.js'
import { refusalOf } from './refusal.js'

const DIGEST = `sha256:${'0'.repeat(64)}`

describe('parseRepository', () => {
  test.each([
    'nginx',
    'library/nginx',
    'a/b/c/d/e',
    'ghcr.io/org/app',
    'registry.example:5000/org/app',
    'localhost:5000/app',
    'a.b-c_d__e/f---g',
    '0/1',
    `${'a'.repeat(127)}/${'b'.repeat(127)}`,
  ])('takes %s', (text) => {
    expect(parseRepository(text)).toBe(text)
  })

  test.each([
    ['nothing', ''],
    ['a slash in front', '/app'],
    ['a slash behind', 'app/'],
    ['an empty component', 'org//app'],
    ['upper case', 'Org/app'],
    ['a dot component', 'org/./app'],
    ['two dots', 'org/../app'],
    ['a separator in front', '-app'],
    ['a separator behind', 'app_'],
    ['two dots in a row', 'a..b'],
    ['three underscores', 'a___b'],
    ['a space', 'a b'],
    ['a backslash', 'a\\b'],
    ['a line end', 'app\n'],
    ['a zero byte', 'app\0'],
    ['other letters', 'ünder'],
    ['a port alone', 'registry.example:5000'],
    ['a port that is no number', 'registry.example:http/app'],
    ['a colon further on', 'org/app:5000/x'],
    ['256 characters', `${'a'.repeat(127)}/${'b'.repeat(128)}`],
  ])('refuses %s', (_case, text) => {
    expect(refusalOf(() => parseRepository(text))).toEqual(['NAME_INVALID', 400])
  })

  test('a name made to be slow is refused in no time', () => {
    const started = performance.now()

    for (const text of [`${'a-'.repeat(100_000)}!`, `${'a/'.repeat(100_000)}!`, `${'a_'.repeat(120)}!`]) {
      expect(refusalOf(() => parseRepository(text))).toEqual(['NAME_INVALID', 400])
    }
    expect(performance.now() - started).toBeLessThan(500)
  })
})

describe('parseReference', () => {
  test.each(['latest', 'v1.2.3-rc_1', '_', '0', 'A'.repeat(128)])('%s is a tag', (tag) => {
    expect(parseReference(tag)).toEqual({ kind: 'tag', tag })
    expect(isTag(tag)).toBe(true)
  })

  test.each([
    ['nothing', ''],
    ['a dot in front', '.hidden'],
    ['a dash in front', '-rf'],
    ['129 characters', 'a'.repeat(129)],
    ['a slash', 'a/b'],
    ['a plus', 'a+b'],
    ['a line end', 'a\n'],
  ])('%s is none', (_case, text) => {
    expect(refusalOf(() => parseTag(text))).toEqual(['MANIFEST_INVALID', 400])
    expect(isTag(text)).toBe(false)
  })

  test('a colon makes it a digest, good or bad', () => {
    expect(parseReference(DIGEST)).toEqual({ kind: 'digest', digest: DIGEST })
    expect(refusalOf(() => parseReference('latest:1'))).toEqual(['DIGEST_INVALID', 400])
  })

  test.each(['latest', DIGEST])('%s is printed as it was read', (text) => {
    const reference = parseReference(text)

    expect(printReference(reference)).toBe(text)
    expect(referenceOf(reference.kind === 'tag' ? reference.tag : reference.digest)).toEqual(reference)
  })
})
