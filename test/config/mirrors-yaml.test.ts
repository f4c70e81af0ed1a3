import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { allKeys } from '../../src/config/keys.js'
import { loadConfig } from '../../src/config/load.js'
import { faultsOf, folderWith } from './files.js'

const TOP = join(import.meta.dirname, '../..')
const text = readFileSync(join(TOP, 'mirrors.yaml'), 'utf8')

test.each([
  ['nothing', {}],
  ['an account of Docker Hub', { HUB_USER: 'me', HUB_TOKEN: 'geheim' }],
])('mirrors.yaml says what holds without any file, with %s in the environment', (_case, env) => {
  const cwd = folderWith({})

  const { config: shipped } = loadConfig({ env, cwd: folderWith({ 'mirrors.yaml': text }) })
  const { config: builtIn } = loadConfig({ env, cwd })

  expect({ ...shipped, storage: { ...shipped.storage, path: '' } }).toEqual({
    ...builtIn,
    storage: { ...builtIn.storage, path: '' },
  })
})

test('every key of the schema is mentioned in mirrors.yaml', () => {
  const keys = [...allKeys()]

  expect(keys.length).toBeGreaterThan(35)
  expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(text))).toEqual([])
})

test('every commented upstream is a good line once its "#" is gone', () => {
  const opened = text.replaceAll('# - { name:', '- { name:')

  const { config } = loadConfig({ env: { ALIYUN_ID: 'abc123' }, cwd: folderWith({ 'mirrors.yaml': opened }) })

  expect(config.registries[0]!.upstreams.map(({ name }) => name)).toEqual([
    'ustc',
    'nju',
    'aliyun',
    'tencent',
    'netease',
    'hub',
  ])
  expect(faultsOf(opened)).toEqual([expect.stringContaining('environment variable ALIYUN_ID is not set')])
})

test('the commented auth is a good part once its "#" is gone, and all of it once every "#" is', () => {
  const [, block = ''] = /^(# auth:\n(?:# .*\n)+)/m.exec(text) ?? []
  const opened = text.replace(block, block.replaceAll(/^# /gm, ''))
  const whole = text.replace(block, block.replaceAll(/^# /gm, '').replaceAll('  # ', '  '))
  const cwd = folderWith({ 'mirrors.yaml': opened, 'whole.yaml': whole, 'users.htpasswd': '' })

  expect(loadConfig({ env: {}, cwd }).config.auth).toEqual({ anonymous: ['pull'] })
  expect(loadConfig({ env: {}, cwd, file: 'whole.yaml' }).config.auth).toEqual({
    htpasswd: join(cwd, 'users.htpasswd'),
    realm: 'https://registry.example/token',
    anonymous: ['pull'],
    access: [
      { repositories: 'local/**', users: ['anonymous'], actions: ['pull'] },
      { repositories: 'local/**', actions: ['pull', 'push'] },
      { repositories: 'local/team-a/**', users: ['alice'], actions: ['pull', 'push', 'delete'] },
    ],
    admins: ['alice'],
  })
})

test('the commented rules of gc and of immutable tags are good ones once their "#" is gone', () => {
  const opened = text
    .replace(/ {2}immutableTags: \[\]\n {2}# immutableTags:\n {2}# /, '  immutableTags:\n  ')
    .replace(/ {2}retention: \[\]\n {2}# retention:\n {2}# /, '  retention:\n  ')

  const { config } = loadConfig({ env: {}, cwd: folderWith({ 'mirrors.yaml': opened }) })

  expect(config.local.immutableTags).toEqual([{ repositories: 'local/**', tags: ['v*'] }])
  expect(config.gc.retention).toEqual([
    {
      repositories: 'local/ci/**',
      keepLast: 10,
      keepTags: ['v*'],
      olderThanMs: 30 * 86_400_000,
      untaggedMs: 7 * 86_400_000,
    },
  ])
})
