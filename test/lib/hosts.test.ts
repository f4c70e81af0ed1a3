import { expect, test } from 'vitest'
import { isInternalHost, sameOwner } from '../../src/lib/hosts.js'

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
  ['0.0.0.0', true],
  ['[::1]', true],
  ['[fe80::1]', true],
  ['[::ffff:7f00:1]', true],
  ['localhost', true],
  ['a.localhost', true],
  ['10.0.0.1', false],
  ['docker.io', false],
  ['[2001:db8::1]', false],
])('%s is inside this machine: %j', (host, internal) => {
  expect(isInternalHost(host)).toBe(internal)
})
