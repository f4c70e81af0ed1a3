import { describe, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import type { Descriptor } from '../../src/oci/manifest.js'
import {
  fallbackSubject,
  fallbackTag,
  inOrder,
  isAttachedTag,
  ofType,
  pageOfReferrers,
} from '../../src/oci/referrers.js'

const SUBJECT = digestOf(Buffer.from('a subject'))
const HEX = SUBJECT.slice('sha256:'.length)

const referrer = (name: string, extra: Partial<Descriptor> = {}): Descriptor => ({
  mediaType: 'application/x',
  digest: digestOf(Buffer.from(name)),
  size: 1,
  ...extra,
})
const many = (count: number, extra: Partial<Descriptor> = {}) =>
  inOrder(Array.from({ length: count }, (_none, at) => referrer(String(at), extra)))

describe('the fallback tag', () => {
  test('is the digest, and leads back to it', () => {
    expect(fallbackTag(SUBJECT)).toBe(`sha256-${HEX}`)
    expect(fallbackSubject(fallbackTag(SUBJECT))).toBe(SUBJECT)
  })

  test('has 64 characters of a longer digest, which do not lead back', () => {
    const long = digestOf(Buffer.from('a subject'), 'sha512')

    expect(fallbackTag(long)).toBe(`sha512-${long.slice(7, 71)}`)
    expect(fallbackSubject(fallbackTag(long))).toBeUndefined()
  })

  test.each([
    [`sha256-${HEX}`, true],
    [`sha512-${HEX}`, true],
    [`sha256-${HEX}.sig`, true],
    [`sha256-${HEX}.att`, true],
    [`sha256-${HEX}.sbom`, true],
    [`sha256-${HEX}.other`, false],
    [`sha256-${HEX.slice(1)}`, false],
    [`sha256-${HEX.toUpperCase()}`, false],
    [`x-sha256-${HEX}`, false],
    ['latest', false],
  ])('%s speaks of another manifest: %s', (tag, speaks) => {
    expect(isAttachedTag(tag)).toBe(speaks)
  })
})

describe('a list of referrers', () => {
  test('has each digest once, as it was listed first, in the order of the digests', () => {
    const [one, two] = [referrer('one'), referrer('two')]

    const listed = inOrder([two, one, { ...one, size: 2 }])

    expect(listed).toEqual([one, two].sort((a, b) => (a.digest < b.digest ? -1 : 1)))
  })

  test('is filtered by the type alone', () => {
    const [one, two] = [referrer('one', { artifactType: 'a/b' }), referrer('two')]

    expect(ofType([one, two], 'a/b')).toEqual([one])
    expect(ofType([one, two], undefined)).toEqual([one, two])
  })
})

describe('a page of referrers', () => {
  test.each([
    [499, 499, false],
    [500, 500, false],
    [501, 500, true],
  ])('of %i has %i', (count, listed, more) => {
    const page = pageOfReferrers(many(count))

    expect([page.descriptors.length, page.more]).toEqual([listed, more])
  })

  test('of descriptors that are large ends at 3 MiB, but is never empty', () => {
    const large = many(6, { annotations: { text: 'x'.repeat(1024 * 1024 - 400) } })
    const huge = many(2, { annotations: { text: 'x'.repeat(4 * 1024 * 1024) } })

    expect(pageOfReferrers(large).descriptors).toHaveLength(3)
    expect(pageOfReferrers(huge)).toMatchObject({ descriptors: huge.slice(0, 1), more: true })
  })

  test('after the last one there is nothing, nor after what is no digest of the list', () => {
    const all = many(3)

    expect(pageOfReferrers(all, { last: all[2]!.digest })).toEqual({ descriptors: [], more: false })
    expect(pageOfReferrers(all, { last: 'zzz' as Digest })).toEqual({ descriptors: [], more: false })
  })

  test('n of 0 and beyond the limit is the limit', () => {
    expect(pageOfReferrers(many(501), { n: 0 }).descriptors).toHaveLength(500)
    expect(pageOfReferrers(many(501), { n: 9999 }).descriptors).toHaveLength(500)
  })
})
