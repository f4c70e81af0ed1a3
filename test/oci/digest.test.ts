import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  algorithmOf,
  digestFrom,
  digestOf,
  hasherFor,
  hexOf,
  isDigest,
  matches,
  parseDigest,
} from '../../src/oci/digest.js'
import { refusalOf } from './refusal.js'

const SHA256 = `sha256:${'a1'.repeat(32)}`
const SHA512 = `sha512:${'a1'.repeat(64)}`

describe('parseDigest', () => {
  test.each([SHA256, SHA512])('takes %s', (text) => {
    expect(parseDigest(text)).toBe(text)
  })

  test.each([
    ['nothing', ''],
    ['no algorithm', 'a1'.repeat(32)],
    ['an algorithm that is not known', `sha384:${'a'.repeat(96)}`],
    ['a property that every object has', 'constructor:a'],
    ['a hex too short', `sha256:${'a'.repeat(63)}`],
    ['a hex too long', `sha256:${'a'.repeat(65)}`],
    ['the length of the other algorithm', `sha512:${'a'.repeat(64)}`],
    ['upper case', SHA256.toUpperCase()],
    ['upper-case hex', `sha256:${'A1'.repeat(32)}`],
    ['what is no hex', `sha256:${'g'.repeat(64)}`],
    ['a line end', `${SHA256}\n`],
    ['a second colon', `${SHA256}:a`],
    ['a path', 'sha256:../../../etc/passwd'],
  ])('refuses %s', (_case, text) => {
    expect(isDigest(text)).toBe(false)
    expect(refusalOf(() => parseDigest(text))).toEqual(['DIGEST_INVALID', 400])
  })

  test('a refusal repeats only the beginning of what was sent', () => {
    expect(() => parseDigest('x'.repeat(10_000))).toThrow(
      expect.objectContaining({ detail: { digest: 'x'.repeat(160) } }),
    )
  })
})

test('a digest has an algorithm and a hex', () => {
  const digest = parseDigest(SHA512)

  expect([algorithmOf(digest), hexOf(digest)]).toEqual(['sha512', 'a1'.repeat(64)])
})

describe.each(['sha256', 'sha512'])('%s', (algorithm) => {
  const bytes = Buffer.from('layer')
  const digest = digestOf(bytes, algorithm)

  test('the digest of bytes, whole and in pieces', () => {
    const hasher = hasherFor(digest).update('lay').update('er')

    expect(digest).toBe(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`)
    expect(digestFrom(hasher, algorithm)).toBe(digest)
  })

  test('bytes match it, others do not', () => {
    expect([matches(digest, bytes), matches(digest, Buffer.from('Layer'))]).toEqual([true, false])
  })
})
