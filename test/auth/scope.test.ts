import { expect, test } from 'vitest'
import { actionsAsked, parseScopes } from '../../src/auth/scope.js'

const repository = (name: string, ...actions: string[]) => ({ type: 'repository', name, actions })

test.each<[string, string[], object[]]>([
  ['one', ['repository:library/nginx:pull'], [repository('library/nginx', 'pull')]],
  [
    'repeated and apart by spaces',
    ['repository:local/a:pull,push repository:local/b:pull', 'repository:local/c:delete'],
    [repository('local/a', 'pull', 'push'), repository('local/b', 'pull'), repository('local/c', 'delete')],
  ],
  ['a name with a port', ['repository:localhost:5001/app:pull'], [repository('localhost:5001/app', 'pull')]],
  ['a class', ['repository(plugin):org/app:pull'], [repository('org/app', 'pull')]],
  ['the same action twice', ['repository:a/b:pull,pull'], [repository('a/b', 'pull')]],
  ['the catalog', ['registry:catalog:*'], [{ type: 'registry', name: 'catalog', actions: ['*'] }]],
  ['no action', ['repository:a/b:'], [repository('a/b')]],
  ['none at all', ['', 'repository', 'repository:a', ':::', 'x y'], []],
  ['a name that is too long', [`repository:${'a'.repeat(256)}:pull`], []],
])('%s', (_case, texts, scopes) => {
  expect(parseScopes(texts)).toEqual(scopes)
})

test('of very many scopes the first 64 are read', () => {
  expect(parseScopes([Array(100).fill('repository:a/b:pull').join(' ')])).toHaveLength(64)
})

test('* asks for every action, and unknown ones for nothing', () => {
  expect(actionsAsked(repository('a/b', '*'))).toEqual(['pull', 'push', 'delete'])
  expect(actionsAsked(repository('a/b', 'fly', 'push'))).toEqual(['push'])
})
