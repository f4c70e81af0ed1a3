import { expect, test } from 'vitest'
import { isInternalHost, isLoopbackHost, sameOwner } from '../../src/lib/hosts.js'

test.each([
  ['auth.docker.io', 'registry-1.docker.io', true],
  ['docker.io', 'registry-1.docker.io', true],
  ['ghcr.io', 'ghcr.io', true],
  ['127.0.0.1', '127.0.0.1', true],
  ['localhost', 'localhost', true],
  ['docker.com', 'docker.io', false],
  ['evil-docker.io', 'registry.docker.io', false],
  ['docker.nju.edu.cn', 'auth.nju.edu.cn', true],
  ['docker.nju.edu.cn', 'docker.ustc.edu.cn', false],
  ['127.0.0.1', '127.0.0.2', false],
  ['10.0.0.1', '11.0.0.1', false],
  ['io', 'docker.io', false],
  ['edu.cn', 'nju.edu.cn', false],
])('%s and %s have one owner: %j', (a, b, same) => {
  expect(sameOwner(a, b)).toBe(same)
})

test.each([
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['169.254.169.254', true],
  ['100.100.100.200', true],
  ['168.63.129.16', true],
  ['0.0.0.0', true],
  ['10.0.0.1', true],
  ['172.16.0.1', true],
  ['172.32.0.1', false],
  ['192.168.1.1', true],
  ['100.64.0.1', true],
  ['100.128.0.1', false],
  ['224.0.0.1', true],
  ['255.255.255.255', true],
  ['198.18.0.7', false],
  ['203.0.113.1', false],
  ['[::1]', true],
  ['[::]', true],
  ['[fe80::1]', true],
  ['[fec0::1]', true],
  ['[fd00:ec2::254]', true],
  ['[ff02::1]', true],
  ['[::ffff:7f00:1]', true],
  ['[::ffff:cb00:7101]', false],
  ['[64:ff9b::a00:1]', true],
  ['[64:ff9b::cb00:7101]', false],
  ['[2001:db8::1]', false],
  ['localhost', true],
  ['localhost.', true],
  ['a.localhost', true],
  ['registry', true],
  ['harbor.corp', true],
  ['nas.local', true],
  ['docker.io', false],
  ['local.example', false],
])('%s is inside: %j', (host, internal) => {
  expect(isInternalHost(host)).toBe(internal)
})

test.each([
  ['127.0.0.1', true],
  ['[::1]', true],
  ['[::ffff:7f00:1]', true],
  ['localhost', true],
  ['a.localhost.', true],
  ['10.0.0.1', false],
  ['[fe80::1]', false],
  ['registry', false],
])('%s is this machine: %j', (host, loopback) => {
  expect(isLoopbackHost(host)).toBe(loopback)
})
