import { expect, test } from 'vitest'
import { ForwardProxy } from '../../src/upstream/forward-proxy.js'

test.each([
  ['registry.example', 443, ['registry.example'], false],
  ['Registry.Example.', 443, ['registry.example'], false],
  ['a.registry.example', 443, ['registry.example'], false],
  ['myregistry.example', 443, ['registry.example'], true],
  ['registry.example', 443, ['.registry.example'], true],
  ['a.registry.example', 443, ['.registry.example'], false],
  ['a.registry.example', 443, ['*.registry.example'], false],
  ['registry.example', 443, ['registry.example:5000'], true],
  ['registry.example', 5000, ['registry.example:5000'], false],
  ['registry.example', 443, ['*'], false],
  ['registry.example', 443, [], true],
  ['registry.example', 443, [':443', '', 'other'], true],
  ['10.1.2.3', 443, ['10.0.0.0/8'], false],
  ['11.1.2.3', 443, ['10.0.0.0/8'], true],
  ['10.1.2.3', 443, ['10.1.2.3'], false],
  ['10.1.2.3', 443, ['10.1.2.3:80'], true],
  ['10.1.2.3', 443, ['2.3'], true],
  ['10.1.2.3', 443, ['10.0.0.0/99'], true],
  ['fd00::1', 443, ['fd00::/8'], false],
  ['fd00::1', 443, ['fd00::1'], false],
  ['fd00::1', 443, ['[fd00::1]:443'], false],
  ['localhost', 5000, [], false],
  ['127.0.0.1', 5000, [], false],
  ['::1', 5000, [], false],
])('%s:%i with noProxy %j goes through the proxy: %j', (host, port, except, through) => {
  const proxy = new ForwardProxy({ url: 'http://proxy.example', except })

  expect(proxy.serves(host, port)).toBe(through)
})

test.each([
  ['http://proxy.example', 'proxy.example', 80, false],
  ['http://proxy.example:3128', 'proxy.example', 3128, false],
  ['https://proxy.example', 'proxy.example', 443, true],
  ['socks5://proxy.example', 'proxy.example', 1080, false],
  ['socks5://[fd00::1]:9', 'fd00::1', 9, false],
])('%s is at %s, port %i, TLS %j', (url, host, port, secure) => {
  expect(new ForwardProxy({ url, except: [] })).toMatchObject({ host, port, secure })
})
