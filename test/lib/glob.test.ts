import { expect, test } from 'vitest'
import { globMatcher } from '../../src/lib/glob.js'

test.each<[string[], string, boolean]>([
  [[], 'anything/at/all', true],
  [['**'], 'a/b/c', true],
  [['library/*'], 'library/nginx', true],
  [['library/*'], 'library/nginx/more', false],
  [['library/*'], 'mylibrary/nginx', false],
  [['library/*'], 'library', false],
  [['org/**'], 'org/a/b', true],
  [['org/**'], 'organ/a', false],
  [['**/app'], 'x/y/app', true],
  [['a.b/*'], 'axb/c', false],
  [['nginx'], 'nginx', true],
  [['*-base'], 'go-base', true],
  [['x/*', 'y/*'], 'y/z', true],
  [['x/(a|b)'], 'x/a', false],
])('%j on %s: %j', (patterns, text, matched) => {
  expect(globMatcher(patterns)(text)).toBe(matched)
})
