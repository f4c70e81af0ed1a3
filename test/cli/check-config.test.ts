import { expect, test } from 'vitest'
import { checkConfig } from '../../src/cli/check-config.js'
import { folderWith } from '../config/files.js'

function check(files: Record<string, string>, file?: string) {
  const out: string[] = []
  const err: string[] = []
  const code = checkConfig({
    file,
    env: {},
    cwd: folderWith(files),
    out: (line) => out.push(line),
    err: (line) => err.push(line),
  })
  return { code, out, err }
}

test('a good file is ok, with a line for each registry, and exit code 0', () => {
  const text = `registries:
  docker.io:
    upstreams:
      - { name: near, url: "https://near.example" }
      - { name: hub, url: "https://hub.example", role: origin }
  ghcr.io:
`

  expect(check({ 'mirrors.yaml': text })).toEqual({
    code: 0,
    out: [
      'mirrors.yaml: ok (2 registries, 3 upstreams)',
      '  docker.io, the default: near (mirror), hub (origin)',
      '  ghcr.io: ghcr (origin)',
    ],
    err: [],
  })
})

test('a file is called as it was named, and one of each is singular', () => {
  const { out } = check({ 'one.yaml': 'registries: { docker.io: {} }' }, './one.yaml')

  expect(out[0]).toBe('./one.yaml: ok (1 registry, 1 upstream)')
})

test('without a file the built-in defaults are ok', () => {
  expect(check({})).toMatchObject({
    code: 0,
    out: expect.arrayContaining(['(built-in defaults): ok (6 registries, 6 upstreams)']),
  })
})

test('every fault is told, and the exit code is 1', () => {
  const { code, out, err } = check({ 'mirrors.yaml': 'a: 1\nlog: { access: 3 }\n' })

  expect(code).toBe(1)
  expect(out).toEqual([])
  expect(err.join('\n').split('\n')).toEqual([
    expect.stringContaining('mirrors.yaml:1:1: unknown key "a"'),
    'mirrors.yaml:2:16: expected true or false, found a number',
  ])
})

test('a file that is not there is told, and the exit code is 1', () => {
  expect(check({}, 'none.yaml')).toEqual({ code: 1, out: [], err: ['none.yaml:1:1: cannot be read: no such file'] })
})
