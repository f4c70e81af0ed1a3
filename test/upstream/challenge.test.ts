import { expect, test } from 'vitest'
import { type Challenge, parseChallenges } from '../../src/upstream/challenge.js'

const bearer = (params: Record<string, string>): Challenge => ({ scheme: 'bearer', params })
const hub = bearer({
  realm: 'https://auth.docker.io/token',
  service: 'registry.docker.io',
  scope: 'repository:library/app:pull',
})

test.each<[string, string | string[] | undefined, Challenge[]]>([
  ['nothing', undefined, []],
  ['an empty header', '', []],
  [
    'the common form',
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/app:pull"',
    [hub],
  ],
  [
    'another order, spaces and capitals',
    'BEARER scope="repository:library/app:pull" , Service = "registry.docker.io",  Realm="https://auth.docker.io/token"',
    [hub],
  ],
  [
    'a comma inside quotes',
    'Bearer realm="https://a/t",scope="repository:a:pull,push"',
    [bearer({ realm: 'https://a/t', scope: 'repository:a:pull,push' })],
  ],
  [
    'an escaped quote',
    'Bearer realm="https://a/t",service="the \\"best\\""',
    [bearer({ realm: 'https://a/t', service: 'the "best"' })],
  ],
  ['values without quotes', 'Bearer realm=https://a/t,service=x', [bearer({ realm: 'https://a/t', service: 'x' })]],
  ['an empty scope', 'Bearer realm="https://a/t",scope=""', [bearer({ realm: 'https://a/t', scope: '' })]],
  [
    'two challenges in one header',
    'Basic realm="r", Bearer realm="https://a/t"',
    [{ scheme: 'basic', params: { realm: 'r' } }, bearer({ realm: 'https://a/t' })],
  ],
  [
    'two headers',
    ['Bearer realm="https://a/t"', 'Basic realm="r"'],
    [bearer({ realm: 'https://a/t' }), { scheme: 'basic', params: { realm: 'r' } }],
  ],
  [
    'a scheme alone before another',
    'Negotiate, Basic realm="r"',
    [
      { scheme: 'negotiate', params: {} },
      { scheme: 'basic', params: { realm: 'r' } },
    ],
  ],
  [
    'an error parameter',
    'Bearer realm="https://a/t",error="insufficient_scope"',
    [bearer({ realm: 'https://a/t', error: 'insufficient_scope' })],
  ],
  [
    'a quote left open',
    'Bearer realm="https://a/t, Basic realm="r"',
    [{ scheme: 'bearer', params: { realm: 'https://a/t, Basic realm=' } }],
  ],
])('%s', (_case, header, challenges) => {
  expect(parseChallenges(header)).toEqual(challenges)
})
