import { expect, test } from 'vitest'
import { DigestSet } from '../../src/gc/digest-set.js'
import { digestOf } from '../../src/oci/digest.js'

test('holds what was added, once each, and nothing else', () => {
  const digests = Array.from({ length: 5000 }, (_, n) => digestOf(Buffer.from(`${n}`), n % 2 ? 'sha256' : 'sha512'))
  const set = new DigestSet()

  for (const digest of [...digests, ...digests]) set.add(digest)

  expect(set.size).toBe(5000)
  expect(digests.every((digest) => set.has(digest))).toBe(true)
  expect(set.has(digestOf(Buffer.from('another')))).toBe(false)
})
