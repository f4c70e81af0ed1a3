import { describe, expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import { faultsOf, load } from './files.js'

const HUB = 'https://hub.example'
/** The `upstream` of a file, and one upstream with keys of its own: each YAML in one line. */
const file = (all: string, own = '') =>
  `upstream: { ${all} }\nregistries:\n  docker.io:\n    upstreams:\n      - { url: "${HUB}"${own && `, ${own}`} }\n`
const egress = (...[text, ...rest]: Parameters<typeof load>) => load(text, ...rest).registries[0]!.upstreams[0]!.egress

const authority = new Authority()
const client = authority.issue('entrepot')
const files = {
  'ca.pem': authority.cert,
  'cert.pem': client.cert,
  'key.pem': client.key,
  'other.pem': authority.issue('other').key,
  'junk.pem': 'geheim',
}

describe('the proxy', () => {
  const env = { HTTPS_PROXY: 'http://ann:geheim@proxy.example:3128', NO_PROXY: 'intern.example, 10.0.0.0/8' }

  test('is the one that the environment names', () => {
    const expected = { proxy: `${env.HTTPS_PROXY}/`, noProxy: ['intern.example', '10.0.0.0/8'] }

    expect(egress('', { env })).toMatchObject(expected)
    expect(egress('upstream: { firstHeaderBudget: 5s }', { env })).toMatchObject(expected)
  })

  test('of the file counts before that, and an upstream’s own before both', () => {
    expect(egress(file('proxy: "socks5://one:1"'), { env })).toMatchObject({ proxy: 'socks5://one:1' })
    expect(egress(file('proxy: "socks5://one:1"', 'proxy: "http://two:2", noProxy: [a, b]'), { env })).toMatchObject({
      proxy: 'http://two:2/',
      noProxy: ['a', 'b'],
    })
  })

  test('is none for an upstream that has an empty one', () => {
    expect(egress(file('proxy: "http://one"', 'proxy: ""'), { env }).proxy).toBeUndefined()
  })

  test.each([
    ['proxy.example:3128', 'http://proxy.example:3128/'],
    ['HTTP://proxy.example', 'http://proxy.example/'],
    ['https://proxy.example/', 'https://proxy.example/'],
    ['socks5h://proxy.example', 'socks5://proxy.example'],
    ['socks://a:b@[fd00::1]:9', 'socks5://a:b@[fd00::1]:9'],
  ])('%s is %s', (written, proxy) => {
    expect(egress(file(`proxy: "${written}"`)).proxy).toBe(proxy)
  })
})

test('every other key has a default for all that an upstream may override', () => {
  const all = 'ca: ca.pem, cert: cert.pem, key: key.pem, family: 4, allowInternal: true, maxBytesPerSecond: 10MiB'
  const none = 'ca: "", cert: "", key: "", family: auto, allowInternal: false, maxBytesPerSecond: ""'

  expect(egress(file(all), { files })).toMatchObject({
    ca: authority.cert,
    ...client,
    family: 4,
    allowInternal: true,
    maxBytesPerSecond: 10 * 2 ** 20,
  })
  expect(egress(file(all, none), { files })).toEqual(egress(''))
})

test.each([
  ['another scheme', 'proxy: "ftp://a:geheim@b"', '1:20: a proxy with scheme "ftp": only http, https and socks5'],
  ['no URL', 'proxy: "http://a:geheim@:99999"', '1:20: not the URL of a proxy'],
  ['a path', 'proxy: "http://a:geheim@b/c"', '1:20: the URL of a proxy has a path'],
  ['half an escape', 'proxy: "http://a:geheim%@b"', '1:20: the credentials of the proxy hold a "%"'],
  ['a map of hosts', 'noProxy: {}', '1:22: expected a list of hosts, found a map of keys'],
  ['a file that is not there', 'ca: none.pem', '1:17: cannot read "none.pem": no such file'],
  ['a file of something else', 'ca: junk.pem', '1:17: "junk.pem" holds no certificate in PEM'],
  ['a key of something else', 'cert: cert.pem, key: junk.pem', '1:34: "junk.pem" holds no private key'],
  ['a certificate alone', 'cert: cert.pem', '1:13: cert without key'],
  ['a key alone', 'key: key.pem', '1:13: key without cert'],
  ['another’s key', 'cert: cert.pem, key: other.pem', '1:34: it is not the key of the certificate in cert'],
  ['an unknown family', 'family: 5', '1:21: "5" is not one of auto, 4, 6'],
  ['a cap of nothing', 'maxBytesPerSecond: 0B', '1:32: "0B" is too small'],
  ['a cap without unit', 'maxBytesPerSecond: 10', '1:32: "10" needs a unit'],
])('%s is a fault, which repeats no secret', (_case, all, expected) => {
  const faults = faultsOf(file(all), { files })

  expect(faults).toEqual([expect.stringContaining(expected)])
  expect(faults.join()).not.toContain('geheim')
})

test('a fault of one upstream has its place, and a bad variable is told without a file', () => {
  expect(faultsOf(file('family: auto', 'ca: none.pem'))).toEqual([
    expect.stringMatching(/^5:\d+: cannot read "none.pem"/),
  ])
  expect(faultsOf('', { env: { HTTPS_PROXY: 'ftp://a:geheim@b' } })).toEqual([
    '1:1: upstream.proxy: a proxy with scheme "ftp": only http, https and socks5 are spoken',
  ])
})
