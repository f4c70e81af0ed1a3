import { expect, test } from 'vitest'
import { NotedUses } from '../../src/metadata/noted-uses.js'
import { digestOf } from '../../src/oci/digest.js'

test('what was used is known, however much else was, and hardly anything else is taken for it', () => {
  const digests = Array.from({ length: 40_000 }, (_, at) => digestOf(Buffer.from(`${at}`)))
  const [used, others] = [digests.slice(0, 20_000), digests.slice(20_000)]
  const uses = new NotedUses()
  for (const digest of used) uses.add(digest)

  expect(used.filter((digest) => !uses.has(digest))).toEqual([])
  expect(others.filter((digest) => uses.has(digest)).length).toBeLessThan(100)
})
