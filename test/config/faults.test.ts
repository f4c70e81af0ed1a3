import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config/load.js'
import { faultsOf, folderWith } from './files.js'

/** A file whose fifth line, from column 9, is one upstream. */
const upstream = (text: string) => `registries:\n  docker.io:\n    default: true\n    upstreams:\n      - ${text}\n`
const HUB = 'https://hub.example'
/** A file whose fourth line, from column 7, is one rule; `users` is an empty file of users. */
const AUTH = 'auth:\n  htpasswd: users\n  access:\n'
const rule = (users: string, actions = 'actions: [pull]', pattern = 'local/**') =>
  `${AUTH}    - { repositories: ${JSON.stringify(pattern)}, ${[users, actions].filter(Boolean).join(', ')} }\n`
const FILES = { users: '', plain: '# users\nalice:geheim\n' }

describe('one fault, with its place', () => {
  test.each<[string, string, string]>([
    // YAML itself
    ['a list that is not closed', 'local:\n  namespaces: [a\n', '3:1: YAML: Flow sequence in block collection must be'],
    ['a tab as indentation', 'log:\n\tlevel: info\n', '2:1: YAML: Tabs are not allowed as indentation'],
    ['a duplicate key', 'log:\n  level: info\n  level: warn\n', '3:3: duplicate key "level"'],
    ['a second document', 'log: {}\n---\nlog: {}\n', '2:1: YAML: Source contains multiple documents'],
    ['an alias without an anchor', 'storage:\n  path: *here\n', '2:9: an alias (*) without its anchor (&)'],
    ['an alias inside its anchor', 'local: &a\n  namespaces: *a\n', '2:15: an alias (*) without its anchor (&)'],
    ['an unknown tag', 'storage:\n  path: !here there\n', '2:9: YAML: unknown tag'],
    // keys and types
    ['an unknown key at the top', 'servr: {}\n', '1:1: unknown key "servr" at the top: did you mean "server"?'],
    ['an unknown key', 'log:\n  levle: info\n', '2:3: unknown key "levle" in log: did you mean "level"?'],
    ['a key like no other', 'log:\n  colour: red\n', '2:3: unknown key "colour" in log: known are level, access'],
    ['a list at the top', '- a\n', '1:1: expected a map of keys, found a list'],
    ['text at the top', 'hello\n', '1:1: expected a map of keys, found text'],
    ['text for a map', 'storage: ./data\n', '1:10: expected a map of keys, found text'],
    ['a list for a map', 'registries:\n  - docker.io\n', '2:3: expected a map of keys, found a list'],
    ['text for a list', 'local:\n  namespaces: local\n', '2:15: expected a list, found text'],
    ['a number for text', 'storage:\n  path: 7\n', '2:9: expected text, found a number: put it in quotes'],
    ['a map for a quantity', 'storage:\n  maxSize: {}\n', '2:12: expected text, found a map of keys'],
    ['a word for true or false', 'log:\n  access: maybe\n', '2:11: expected true or false, found text'],
    ['an empty path', 'storage:\n  path: ""\n', '2:9: an empty path'],
    ['a level that is none', 'log:\n  level: warning\n', '2:10: "warning" is not one of fatal, error, warn,'],
    [
      'an action that is none',
      'auth:\n  anonymous: [pull, pus]\n',
      '2:21: "pus" is not one of pull, push, delete: did you mean push?',
    ],
    // users and rules
    ['an empty list of rules', 'auth:\n  access: []\n', '2:11: no rules: list at least one, or leave the key out'],
    ['a rule without actions', `${AUTH}    - { repositories: "**" }\n`, '4:7: missing key "actions"'],
    ['a rule for no user', rule('users: []'), '4:42: no users: leave the key out for every user'],
    ['a user with a colon', rule('users: ["a:b"]'), '4:43: "a:b": a name is 1 to 128 characters'],
    ['an action that is none in a rule', rule('users: [a], actions: [write]', ''), '4:57: "write" is not one of pull'],
    [
      'a pattern in upper case',
      rule('users: [a]', 'actions: []', 'local/App'),
      '4:23: "local/App" is not a pattern of repositories such as local/team-a/**',
    ],
    [
      'a pattern without its registry',
      rule('users: [a]', 'actions: []', 'library/*'),
      '4:23: "library/*" matches nothing: names begin with local, docker.io',
    ],
    [
      'a short name of Docker Hub',
      rule('users: [a]', 'actions: []', 'docker.io/nginx'),
      '4:23: "docker.io/nginx" is no repository: write docker.io/library/nginx',
    ],
    [
      'the name of everybody as an admin',
      'auth:\n  htpasswd: users\n  admins: [anonymous]\n',
      '3:12: "anonymous": anonymous stands for',
    ],
    ['an empty list of admins', 'auth:\n  htpasswd: users\n  admins: []\n', '3:11: no admins: list at least one'],
    ['admins where nobody can sign in', 'auth:\n  admins: [a]\n', '2:3: admins: set auth.htpasswd, without which'],
    ['a realm where nobody can sign in', 'auth:\n  realm: https://a.example\n', '2:3: realm: set auth.htpasswd'],
    [
      'a rule for users where nobody can sign in',
      'auth:\n  access:\n    - { repositories: "**", actions: [pull] }\n',
      '3:7: a rule for users: set auth.htpasswd, without which nobody can sign in, or write users: [anonymous]',
    ],
    [
      'a rule for one user where nobody can sign in',
      'auth:\n  access:\n    - { repositories: "**", users: [a], actions: [pull] }\n',
      '3:36: a rule for users: set auth.htpasswd',
    ],
    ['a realm that is no URL', 'auth:\n  htpasswd: users\n  realm: a.example\n', '3:10: not a URL'],
    [
      'a file of users that is not there',
      'auth:\n  htpasswd: none\n',
      '2:13: cannot read "none": no such file: "entrepot passwd USER" makes it',
    ],
    ['a file of users with plain passwords', 'auth:\n  htpasswd: plain\n', '2:13: plain:2: this is no bcrypt hash'],
    // units
    ['a size in parsecs', 'storage:\n  maxSize: 10 parsecs\n', '2:12: "10 parsecs" has an unknown unit'],
    ['a size without unit', 'storage:\n  memory: 5\n', '2:11: "5" needs a unit: one of B, KB'],
    ['a cache of nothing', 'storage:\n  maxSize: 0B\n', '2:12: "0B" is too small'],
    ['more than the whole', 'storage:\n  lowWatermark: 101%\n', '2:17: "101%" is out of range'],
    ['a share without %', 'storage:\n  lowWatermark: 0.9\n', '2:17: "0.9" is not a percentage: write a number and %'],
    ['a limit of nothing', 'upstream:\n  timeouts: { idle: 0s }\n', '2:21: "0s" is too short'],
    ['a limit no timer can hold', 'upstream:\n  firstHeaderBudget: 25d\n', '2:22: "25d" is too long: at most 24h'],
    ['a budget without unit', 'upstream:\n  revalidationBudget: 2\n', '2:23: "2" needs a unit'],
    ['nothing at once', 'prefetch:\n  concurrency: 0\n', '2:16: "0" is not a whole number from 1 to 100'],
    ['more at once than may be', 'prefetch:\n  concurrency: 101\n', '2:16: "101" is not a whole number from 1 to 100'],
    ['half a time', 'prefetch:\n  hotAfter: 2.5\n', '2:13: "2.5" is not a whole number from 1 to 100'],
    ['no connection', 'upstream:\n  connections: 0\n', '2:16: "0" is not a whole number from 1 to 64'],
    ['more connections than may be', 'upstream:\n  connections: 65\n', '2:16: "65" is not a whole number from 1'],
    ['a rate without unit', 'upstream:\n  minRate: 16\n', '2:12: "16" needs a unit: one of B, KB'],
    // listen
    ['no address', 'server:\n  listen: everywhere\n', '2:11: "everywhere" is not an address to listen on'],
    [
      'an IPv6 address without brackets',
      'server:\n  listen: "::5000"\n',
      '2:11: "::5000" is not an address to listen on: write an IPv6 address in brackets',
    ],
    [
      'a port too large',
      'server:\n  listen: ":65536"\n',
      '2:11: ":65536" is not an address to listen on: a port is at most 65535',
    ],
    [
      'an address that is none',
      'server:\n  listen: 256.0.0.1:5000\n',
      '2:11: "256.0.0.1:5000" is not an address to listen on: "256.0.0.1" is no host',
    ],
    ['brackets around a name', 'server:\n  listen: "[localhost]:5000"\n', '2:11: "[localhost]:5000" is not an address'],
    // registries
    [
      'a registry in upper case',
      'registries:\n  docker.io:\n  GHCR.io:\n',
      '3:3: "GHCR.io" is not the host of a registry',
    ],
    [
      'a registry without dot or port',
      'registries:\n  docker.io:\n  ghcr:\n',
      '3:3: "ghcr" is not the host of a registry',
    ],
    ['a registry with a path', 'registries:\n  docker.io:\n  ghcr.io/org:\n', '3:3: "ghcr.io/org" is not the host'],
    ['a registry whose port is none', 'registries:\n  docker.io:\n  a.b:70000:\n', '3:3: "a.b:70000" is not the host'],
    [
      'two defaults',
      'registries:\n  docker.io: { default: true }\n  ghcr.io: { default: true }\n',
      '3:14: a second default: docker.io is the default registry already',
    ],
    ['no default', 'registries:\n  ghcr.io:\n  quay.io:\n', '1:1: no default registry: write default: true'],
    ['a default taken away', 'registries:\n  docker.io: { default: false }\n', '1:1: no default registry'],
    ['registries that are an empty map', 'registries: {}\n', '1:1: no default registry'],
    [
      'an alias that is another registry',
      'registries:\n  docker.io:\n  ghcr.io: { aliases: [docker.io] }\n',
      '3:24: alias "docker.io" leads to docker.io already',
    ],
    [
      'an alias of Docker Hub elsewhere',
      'registries:\n  docker.io:\n  ghcr.io: { aliases: [index.docker.io] }\n',
      '3:24: alias "index.docker.io" leads to docker.io already',
    ],
    [
      'an alias of two registries',
      'registries:\n  docker.io: { aliases: [a.b] }\n  ghcr.io: { aliases: [a.b] }\n',
      '3:24: alias "a.b" leads to docker.io already',
    ],
    [
      'an alias that is no host',
      'registries:\n  docker.io: { aliases: [hub] }\n',
      '2:26: "hub" is not the host of a registry',
    ],
    [
      'a ttl without unit',
      'registries:\n  docker.io:\n    tags: { ttl: 5 }\n',
      '3:18: "5" needs a unit: one of ms, s, m, h, d, as in 30s',
    ],
    ['a negative ttl', 'registries:\n  docker.io:\n    negativeTtl: -1s\n', '3:18: "-1s" is negative'],
    [
      'an empty list of upstreams',
      'registries:\n  docker.io:\n    upstreams: []\n',
      '3:16: no upstreams: list at least one',
    ],
    [
      'a list of nothing but comments',
      'registries:\n  docker.io:\n    upstreams:\n      # - { name: a }\n',
      '3:15: no upstreams',
    ],
    [
      'a rule without match',
      'registries:\n  docker.io:\n    tags: { rules: [{ ttl: 1s }] }\n',
      '3:21: missing key "match"',
    ],
    [
      'a rule for what is no tag',
      'registries:\n  docker.io:\n    tags: { rules: [{ match: "a/b" }] }\n',
      '3:30: "a/b" is not a pattern of a tag',
    ],
    // upstreams
    [
      'a further account without password',
      upstream(`{ url: "${HUB}", credentials: [{ username: ann }] }`),
      '5:55: a username without a password',
    ],
    [
      'a realm that is a URL with a path',
      upstream(`{ url: "${HUB}", realms: ["https://auth.example/token"] }`),
      '5:48: "https://auth.example/token" is not the host of a token service',
    ],
    ['an upstream without url', upstream('{ name: hub }'), '5:9: missing key "url"'],
    ['an upstream that is text', upstream(HUB), '5:9: expected a map of keys, found text'],
    [
      'an upstream name with a space',
      upstream(`{ name: my hub, url: "${HUB}" }`),
      '5:17: "my hub" is not a name of at most 64',
    ],
    [
      'a role that is none',
      upstream(`{ url: "${HUB}", role: orgin }`),
      '5:45: "orgin" is not one of origin, mirror: did you mean origin?',
    ],
    [
      'a resolve that is none',
      upstream(`{ url: "${HUB}", resolve: sometimes }`),
      '5:48: "sometimes" is not one of always, never, fallback',
    ],
    [
      'an unknown key of an upstream',
      upstream(`{ url: "${HUB}", usrname: me }`),
      '5:39: unknown key "usrname" in registries.docker.io.upstreams.0: did you mean "username"?',
    ],
    [
      'a pattern in upper case',
      upstream(`{ url: "${HUB}", allow: ["Library/*"] }`),
      '5:47: "Library/*" is not a repository pattern',
    ],
    ['one limit of nothing', upstream(`{ url: "${HUB}", timeouts: { connect: 0s } }`), '5:60: "0s" is too short'],
    [
      'the same name twice',
      upstream(`{ name: a, url: "${HUB}" }\n      - { name: a, url: "http://b" }`),
      '6:17: upstream name "a" is used twice in docker.io',
    ],
    [
      'the same host twice without names',
      upstream(`{ url: "${HUB}" }\n      - { url: "${HUB}/x" }`),
      '6:9: upstream name "hub.example" is used twice in docker.io',
    ],
    ['a URL without scheme', upstream('{ url: hub.example }'), '5:16: not a URL: write it with its scheme'],
    ['another scheme', upstream('{ url: "ftp://hub.example" }'), '5:16: scheme "ftp": only http and https are spoken'],
    ['a URL without a host', upstream('{ url: "https://" }'), '5:16: a URL without a host'],
    ['a path where the host was meant', upstream('{ url: "https:///hub.example" }'), '5:16: a URL without a host'],
    ['a port without a host', upstream('{ url: "https://:443/" }'), '5:16: a URL without a host'],
    [
      'a host that begins with a dot',
      upstream('{ url: "https://.hub.example" }'),
      '5:16: a URL whose host is no host name',
    ],
    [
      'a port that is none',
      upstream('{ url: "https://hub.example:99999" }'),
      '5:16: not a URL: its host or port cannot be read',
    ],
    ['a query', upstream('{ url: "https://hub.example?a=b" }'), '5:16: a query in the URL'],
    ['a fragment', upstream('{ url: "https://hub.example#a" }'), '5:16: a fragment in the URL'],
    ['white space', upstream('{ url: "https://hub.example/a b" }'), '5:16: white space or a backslash in the URL'],
    ['the API version', upstream('{ url: "https://hub.example/v2/" }'), '5:16: /v2 at the end of the URL'],
    [
      'credentials in the URL',
      upstream('{ url: "https://me:geheim@hub.example" }'),
      '5:16: credentials in the URL: use the keys',
    ],
    ['a username alone', upstream(`{ url: "${HUB}", username: me }`), '5:39: a username without a password'],
    ['a password alone', upstream(`{ url: "${HUB}", password: geheim }`), '5:39: a password without a username'],
    [
      'a username with a colon',
      upstream(`{ url: "${HUB}", username: "m:e", password: x }`),
      '5:49: a username cannot hold a colon',
    ],
    [
      'a username whose password comes out empty',
      upstream(`{ url: "${HUB}", username: me, password: "\${T:-}" }`),
      '5:39: a username without a password',
    ],
    [
      'a password that is a number',
      upstream(`{ url: "${HUB}", username: me, password: 4711 }`),
      '5:63: expected text, found a number: put it in quotes',
    ],
    [
      'a password file that is not there',
      upstream(`{ url: "${HUB}", username: me, passwordFile: ./none }`),
      '5:67: cannot read "./none": no such file',
    ],
    [
      'a username file that is not there',
      upstream(`{ url: "${HUB}", usernameFile: ./none, password: x }`),
      '5:53: cannot read "./none": no such file',
    ],
    [
      'a password file that is a folder',
      upstream(`{ url: "${HUB}", username: me, passwordFile: . }`),
      '5:67: cannot read ".": it is a folder',
    ],
    [
      'a password twice',
      upstream(`{ url: "${HUB}", username: me, password: x, passwordFile: ./none }`),
      '5:66: both password and passwordFile: keep one',
    ],
    // the environment
    ['a variable that is not set', 'storage:\n  path: "/srv/${WHERE}"\n', '2:9: environment variable WHERE is not set'],
    [
      'a variable that is not set, in a list',
      'local:\n  namespaces: [a, "${TEAM}"]\n',
      '2:19: environment variable TEAM is not set',
    ],
    [
      'a variable in a password',
      upstream(`{ url: "${HUB}", username: me, password: "\${TOKEN}" }`),
      '5:63: environment variable TOKEN is not set',
    ],
    ['a brace that begins no variable', 'storage:\n  path: "${not a name}"\n', '2:9: a "${" that begins no variable'],
    // garbage and immutable tags
    ['a grace too short', 'gc: { grace: 30s }\n', '1:14: "30s" is too short: at least 1m'],
    ['a rule without repositories', 'gc: { retention: [{ keepLast: 3 }] }\n', '1:19: missing key "repositories"'],
    [
      'a number of tags that is none',
      'gc: { retention: [{ repositories: "local/**", keepLast: -1 }] }\n',
      '1:57: "-1" is not a whole number from 0 to 1000000',
    ],
    [
      'a pattern of repositories that is none',
      'local: { immutableTags: [{ repositories: "/local" }] }\n',
      '1:42: "/local" is not a repository pattern',
    ],
    [
      'immutable tags without any',
      'local: { immutableTags: [{ repositories: "local/**", tags: [] }] }\n',
      '1:60: no tags: list at least one pattern',
    ],
    // local namespaces
    [
      'a namespace with a slash',
      'local: { namespaces: [a/b] }\n',
      '1:23: local namespace "a/b" is not one component of a name',
    ],
    [
      'a namespace in upper case',
      'local: { namespaces: [Team] }\n',
      '1:23: local namespace "Team" is not one component',
    ],
    ['a namespace that is empty', 'local: { namespaces: [""] }\n', '1:23: local namespace "" is not one component'],
    [
      'a namespace with a dot',
      'local: { namespaces: [team.example] }\n',
      '1:23: local namespace "team.example" could be taken for a host',
    ],
    [
      'a namespace with a colon',
      'local: { namespaces: ["team:80"] }\n',
      '1:23: local namespace "team:80" could be taken for a host',
    ],
    [
      'a namespace that is a registry',
      'local: { namespaces: [ghcr.io] }\n',
      '1:23: local namespace "ghcr.io" is the name of a registry',
    ],
    [
      'a namespace that is this host',
      'local: { namespaces: [localhost] }\n',
      '1:23: local namespace "localhost" could be taken for a host',
    ],
    [
      'a namespace that is the Hub’s',
      'local: { namespaces: [library] }\n',
      '1:23: local namespace "library" would hide',
    ],
    ['a namespace twice', 'local: { namespaces: [a, a] }\n', '1:26: local namespace "a" is listed twice'],
  ])('%s', (_case, text, fault) => {
    const faults = faultsOf(text, { files: FILES })

    expect(faults).toEqual([expect.stringContaining(fault)])
    expect(faults[0]!.startsWith(fault.slice(0, fault.indexOf(' ')))).toBe(true)
  })
})

describe('many faults', () => {
  test('all are told in one go, in the order of the file', () => {
    const text = [
      'servr: {}',
      'storage:',
      '  maxSize: 1GiB',
      '  maxSize: 10 parsecs',
      '  path: "${NOWHERE}"',
      'registries:',
      '  docker.io:',
      '    tags: { ttl: 5 }',
      '    upstreams:',
      '      - { name: a, url: "https://" }',
      '      - { name: a, url: "https://b", username: me, passwordFile: ./none }',
      'log: { access: 3 }',
    ].join('\n')

    expect(faultsOf(text).map((fault) => fault.split(':').slice(0, 2).join(':'))).toEqual([
      '1:1',
      '4:3',
      '4:12',
      '5:9',
      '8:18',
      '10:25',
      '11:17',
      '11:66',
      '12:16',
    ])
  })

  test('what stands before an error of syntax is told with it, what follows is not', () => {
    const text = 'servr: {}\nlog:\n  level: loud\nlocal: { namespaces: [a\nstorage: { path: 3 }\n'

    const faults = faultsOf(text)

    expect(faults[0]).toContain('1:1: unknown key "servr"')
    expect(faults[1]).toContain('3:10: "loud" is not one of')
    expect(faults.slice(2).every((fault) => fault.includes('YAML: '))).toBe(true)
    expect(faults.length).toBeGreaterThan(2)
  })

  test('the message holds one file:line:column: message a line, with the name that was asked for', () => {
    const cwd = folderWith({ 'other.yaml': 'a: 1\nlog: { level: loud }\n' })

    const load = () => loadConfig({ file: './other.yaml', env: {}, cwd })

    expect(load).toThrow(ConfigError)
    expect(load).toThrow(/^\.\/other\.yaml:1:1: unknown key "a".*\n\.\/other\.yaml:2:15: "loud" is not one of [^\n]*$/)
  })
})

describe('a file that cannot be read', () => {
  test('one that was asked for and is not there is a fault', () => {
    expect(() => loadConfig({ file: 'none.yaml', env: {}, cwd: folderWith({}) })).toThrow(
      'none.yaml:1:1: cannot be read: no such file',
    )
  })

  test('a folder of its name is a fault, asked for or not', () => {
    const cwd = folderWith({})
    mkdirSync(join(cwd, 'mirrors.yaml'))

    expect(() => loadConfig({ env: {}, cwd })).toThrow('mirrors.yaml:1:1: cannot be read: it is a folder')
  })
})

describe('secrets', () => {
  const SECRET = 'hunter2'

  test.each([
    ['in a URL', upstream(`{ url: "https://me:${SECRET}@hub.example:99999" }`)],
    ['in a URL of another scheme', upstream(`{ url: "ftp://me:${SECRET}@hub.example" }`)],
    ['without a username', upstream(`{ url: "${HUB}", password: ${SECRET} }`)],
    ['with a brace that begins no variable', upstream(`{ url: "${HUB}", username: me, password: "${SECRET}\${" }`)],
    ['that looks like an alias', upstream(`{ url: "${HUB}", username: me, password: *${SECRET} }`)],
    ['that looks like a tag', upstream(`{ url: "${HUB}", username: me, password: !${SECRET} }`)],
    ['that is a list', upstream(`{ url: "${HUB}", username: me, password: [${SECRET}] }`)],
    ['after a bad escape', upstream(`{ url: "${HUB}", username: me, password: "\\q${SECRET}" }`)],
    ['after a reserved character', upstream(`{ url: "${HUB}", username: me, password: @${SECRET} }`)],
    [
      'after its closing quote',
      `registries:\n  docker.io:\n    upstreams:\n      - password: "a" ${SECRET}\n        url: "${HUB}"\n`,
    ],
    [
      'as the header of a block',
      `registries:\n  docker.io:\n    upstreams:\n      - password: |${SECRET}\n        url: "${HUB}"\n`,
    ],
  ])('one %s is not in the fault', (_case, text) => {
    const faults = faultsOf(text)

    expect(faults).not.toEqual([])
    expect(faults.join('\n')).not.toContain(SECRET)
  })

  test('one from the environment is not in the fault', () => {
    const text = upstream(`{ url: "https://hub.example/\${TOKEN}?", username: "\${TOKEN}", password: "\${TOKEN}" }`)

    const faults = faultsOf(text, { env: { TOKEN: `${SECRET}:x` } })

    expect(faults).toHaveLength(2)
    expect(faults.join('\n')).not.toContain(SECRET)
  })
})
