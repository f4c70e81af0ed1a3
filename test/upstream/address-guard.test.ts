import { expect, test } from 'vitest'
import { AddressGuard } from '../../src/upstream/address-guard.js'

const at = (...addresses: string[]) => addresses.map((address) => ({ address }))

test.each([
  ['a public name', 'registry.example', false, false],
  ['this machine', '127.0.0.1', false, true],
  ['the metadata service', '169.254.169.254', false, true],
  ['a private address', '10.0.0.1', false, true],
  ['a name that only this network knows', 'minio', false, true],
  ['its own host', 'hub.example', false, false],
  ['a private address that is allowed', '10.0.0.1', true, false],
])('%s as a target of hub.example: %s, allowInternal %j, forbidden %j', (_case, host, allowInternal, forbidden) => {
  expect(new AddressGuard({ ownHost: 'hub.example', allowInternal }).forbids(host)).toBe(forbidden)
})

test.each(['127.0.0.1', '[fd00::1]', 'registry', 'harbor.corp', 'localhost'])(
  'an upstream at %s may lead inside',
  (ownHost) => {
    const guard = new AddressGuard({ ownHost, allowInternal: false })

    expect(guard.forbids('10.0.0.1')).toBe(false)
    expect(guard.allowed('cdn.example', at('10.0.0.1'))).toEqual(at('10.0.0.1'))
  },
)

test('of the addresses behind a name only those outside are dialled', () => {
  const guard = new AddressGuard({ ownHost: 'hub.example', allowInternal: false })

  expect(guard.allowed('cdn.example', at('10.0.0.1', '203.0.113.1', '::1', '2001:db8::1'))).toEqual(
    at('203.0.113.1', '2001:db8::1'),
  )
  expect(() => guard.allowed('cdn.example', at('::ffff:10.0.0.1', 'fd00::1'))).toThrow(
    'cdn.example is at ::ffff:10.0.0.1, which is inside',
  )
  expect(guard.allowed('hub.example', at('10.0.0.1'))).toEqual(at('10.0.0.1'))
})
