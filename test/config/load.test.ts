import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import { faultsOf, folderWith, load } from './files.js'

const HUB = 'https://registry-1.docker.io'
const registry = (text: string) => `registries:\n  docker.io:\n${text.replaceAll(/^/gm, '    ')}\n`
const firstUpstream = (...file: Parameters<typeof load>) => load(...file).registries[0]!.upstreams[0]!

describe('without a file', () => {
  test('every key has its default', () => {
    const cwd = folderWith({})

    const { config, file } = loadConfig({ env: {}, cwd })

    expect(file).toBeUndefined()
    expect({ ...config, registries: config.registries.map(({ name }) => name) }).toEqual({
      server: { host: '0.0.0.0', port: 5000 },
      storage: { path: join(cwd, 'data'), maxSizeBytes: 50 * 2 ** 30, lowWatermark: 0.9, memoryBytes: 64 * 2 ** 20 },
      registries: ['docker.io', 'ghcr.io', 'quay.io', 'registry.k8s.io', 'gcr.io', 'mcr.microsoft.com'],
      local: {
        namespaces: ['local'],
        immutableTags: [],
        sparse: 'none',
        minFreeBytes: 16 * 1024 * 1024,
        uploads: { expireMs: 24 * 3_600_000, perClient: 1000, chunkMinLength: 0 },
      },
      gc: { everyMs: 86_400_000, graceMs: 3_600_000, retention: [] },
      auth: undefined,
      upstream: {
        firstHeaderBudgetMs: 20_000,
        revalidationBudgetMs: 2000,
        segments: { size: 4_194_304, minBlob: 16_777_216 },
      },
      prefetch: {
        blobs: false,
        concurrency: 3,
        clientDownloads: 3,
        hotTags: true,
        hotAfter: 3,
        checksPerMinute: 10,
      },
      log: { level: 'info', access: true },
    })
    expect(config.registries[0]).toEqual({
      name: 'docker.io',
      default: true,
      aliases: ['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'],
      tags: {
        ttlMs: 300_000,
        staleIfErrorMs: 30 * 86_400_000,
        originHoldMs: 86_400_000,
        staleWhileRevalidateMs: 0,
        whenGone: 'serve',
        rules: [],
      },
      negativeTtlMs: 30_000,
      attach: false,
      upstreams: [
        {
          name: 'hub',
          url: HUB,
          role: 'origin',
          resolve: 'fallback',
          allow: [],
          realms: [],
          rateLimitReserve: 0.1,
          segmentsAtOnce: 4,
          timeouts: { connectMs: 3000, firstByteMs: 10_000, idleMs: 10_000 },
          connections: 16,
          minBytesPerSecond: 16_384,
          egress: {
            proxy: undefined,
            noProxy: [],
            ca: undefined,
            cert: undefined,
            key: undefined,
            family: 'auto',
            allowInternal: false,
            maxBytesPerSecond: undefined,
          },
        },
      ],
    })
  })

  test('the account of Docker Hub comes from the environment', () => {
    const { config } = loadConfig({ env: { HUB_USER: 'me', HUB_TOKEN: 'geheim' }, cwd: folderWith({}) })

    expect(config.registries[0]!.upstreams[0]).toMatchObject({ username: 'me', password: 'geheim' })
  })

  test('half an account is a fault that names what it is about', () => {
    expect(() => loadConfig({ env: { HUB_USER: 'me' }, cwd: folderWith({}) })).toThrow(
      '(built-in defaults):1:1: docker.io/hub: registries.docker.io.upstreams.0.username: a username without a password',
    )
  })
})

describe('which file', () => {
  test('mirrors.yaml in the working folder is taken when none is named', () => {
    const cwd = folderWith({ 'mirrors.yaml': 'log: { level: debug }' })

    expect(loadConfig({ env: {}, cwd })).toMatchObject({
      file: join(cwd, 'mirrors.yaml'),
      config: { log: { level: 'debug' } },
    })
  })

  test('the one that is named is taken, and relative paths are relative to its folder', () => {
    const folder = folderWith({ 'other.yaml': 'storage: { path: ../blobs }' })

    const { config, file } = loadConfig({ file: join(folder, 'other.yaml'), env: {}, cwd: folderWith({}) })

    expect(file).toBe(join(folder, 'other.yaml'))
    expect(config.storage.path).toBe(join(folder, '../blobs'))
  })

  test.each([
    ['an empty file', ''],
    ['nothing but comments', '# log:\n#   level: debug\n'],
    [
      'keys with nothing behind them',
      'server:\nstorage:\n  path:\nregistries:\nlocal:\nauth:\nupstream:\n  timeouts:\nlog:\n',
    ],
    ['a byte order mark and Windows line ends', '\uFEFFlog:\r\n  level: info\r\n'],
  ])('%s is the defaults', (_case, text) => {
    const cwd = folderWith({ 'mirrors.yaml': text })

    expect(loadConfig({ env: {}, cwd }).config).toEqual({
      ...loadConfig({ env: {}, cwd: folderWith({}) }).config,
      storage: { ...load('').storage, path: join(cwd, 'data') },
    })
  })
})

describe('server.listen', () => {
  test.each([
    ['0.0.0.0:5000', '0.0.0.0', 5000],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['"[::]:5000"', '::', 5000],
    ['"[::1]:65535"', '::1', 65_535],
    ['localhost:8080', 'localhost', 8080],
    ['":5001"', '0.0.0.0', 5001],
    ['"5001"', '0.0.0.0', 5001],
    ['5001', '0.0.0.0', 5001],
  ])('%s is host %s, port %i', (text, host, port) => {
    expect(load(`server: { listen: ${text} }`).server).toEqual({ host, port })
  })
})

describe('registries', () => {
  test('one that is shipped and has nothing behind it has its shipped upstreams', () => {
    const { registries } = load('registries:\n  docker.io:\n  quay.io:\n')

    expect(registries.map(({ name, upstreams }) => [name, upstreams.map(({ url }) => url)])).toEqual([
      ['docker.io', [HUB]],
      ['quay.io', ['https://quay.io']],
    ])
  })

  test('one that is not shipped and has no upstreams is its own origin', () => {
    const { registries } = load('registries:\n  registry.example:5000: { default: true }\n')

    expect(registries).toMatchObject([
      {
        name: 'registry.example:5000',
        default: true,
        upstreams: [{ name: 'registry.example:5000', url: 'https://registry.example:5000', role: 'origin' }],
      },
    ])
  })

  test('they keep the order of the file, and exactly one is the default', () => {
    const { registries } = load('registries:\n  quay.io:\n  docker.io:\n  ghcr.io: { default: true }\n')

    expect(registries.map((each) => [each.name, each.default])).toEqual([
      ['quay.io', false],
      ['docker.io', false],
      ['ghcr.io', true],
    ])
  })

  test('docker.io is the default when none says so', () => {
    const { registries } = load('registries:\n  ghcr.io:\n  docker.io:\n')

    expect(registries.map((each) => each.default)).toEqual([false, true])
  })

  test('aliases of docker.io are added to the built-in ones', () => {
    expect(load(registry('aliases: [hub.example, index.docker.io]')).registries[0]!.aliases).toEqual([
      'index.docker.io',
      'registry-1.docker.io',
      'registry.hub.docker.com',
      'hub.example',
    ])
  })

  test('a registry that is an alias of docker.io by habit is itself when it is listed', () => {
    const { registries } = load('registries:\n  docker.io:\n  index.docker.io:\n')

    expect(registries[0]!.aliases).toEqual(['registry-1.docker.io', 'registry.hub.docker.com'])
  })

  test('0s is allowed for what may be off', () => {
    const text = registry('tags: { ttl: 0s, staleIfError: 0s, originHold: 0s }\nnegativeTtl: 0s')

    expect(load(text).registries[0]).toMatchObject({
      tags: { ttlMs: 0, staleIfErrorMs: 0, originHoldMs: 0 },
      negativeTtlMs: 0,
    })
  })
})

describe('tags.rules', () => {
  test('keep their order, and what one leaves out stays out', () => {
    const text = registry(
      'tags: { staleWhileRevalidate: 1h, rules: [{ match: "v*", repository: "org/**", immutable: true }, { match: "*", ttl: 0s, staleIfError: 1d, whenGone: forget }] }',
    )

    expect(load(text).registries[0]!.tags).toMatchObject({
      staleWhileRevalidateMs: 3_600_000,
      rules: [
        { match: 'v*', repository: 'org/**', immutable: true },
        { match: '*', immutable: false, ttlMs: 0, staleIfErrorMs: 86_400_000, whenGone: 'forget' },
      ],
    })
  })
})

describe('credentials', () => {
  test('are read from files too, and empty ones are left out', () => {
    const accounts = '{ username: ann, passwordFile: ann.txt }, { username: "${A:-}", password: "${B:-}" }'
    const text = registry(`upstreams: [{ url: "${HUB}", username: me, password: x, credentials: [${accounts}] }]`)

    expect(firstUpstream(text, { files: { 'ann.txt': 'hers\n' } })).toMatchObject({
      username: 'me',
      password: 'x',
      credentials: [{ username: 'ann', password: 'hers' }],
    })
  })

  test('realms and the reserve are as written, and the reserve may be nothing', () => {
    const realms = '["auth.example.com", "http://auth.example.com:5001"]'
    const text = registry(`upstreams: [{ url: "${HUB}", realms: ${realms}, rateLimitReserve: 0% }]`)

    expect(firstUpstream(text)).toMatchObject({
      realms: ['auth.example.com', 'http://auth.example.com:5001'],
      rateLimitReserve: 0,
    })
  })
})

describe('upstreams', () => {
  test('timeouts come from upstream.timeouts and are overridden one by one', () => {
    const text = `upstream: { timeouts: { connect: 1s, idle: 5s } }\n${registry(
      `upstreams: [{ url: "${HUB}", timeouts: { idle: 250ms } }]`,
    )}`

    expect(firstUpstream(text).timeouts).toEqual({ connectMs: 1000, firstByteMs: 10_000, idleMs: 250 })
  })

  test('connections and minRate come from upstream and are overridden one by one; 0B is no minimum', () => {
    const all = `upstream: { connections: 8, minRate: 0B }`
    const upstreams = `upstreams: [{ url: "${HUB}", minRate: 1MiB }]`

    expect(firstUpstream(`${all}\n${registry(upstreams)}`)).toMatchObject({
      connections: 8,
      minBytesPerSecond: 2 ** 20,
    })
    expect(firstUpstream(registry(`upstreams: [{ url: "${HUB}", connections: 1, minRate: 0B }]`))).toMatchObject({
      connections: 1,
      minBytesPerSecond: 0,
    })
  })

  test('one without a name, role or resolve is a mirror by the name of its host, which resolves as fallback', () => {
    expect(firstUpstream(registry('upstreams: [{ url: "http://127.0.0.1:8080" }]'))).toMatchObject({
      name: '127.0.0.1:8080',
      role: 'mirror',
      resolve: 'fallback',
      allow: [],
    })
  })

  test.each([
    ['https://hub.example', 'https://hub.example'],
    ['https://hub.example/', 'https://hub.example'],
    ['HTTPS://Hub.Example:443//', 'https://hub.example'],
    ['http://hub.example:8080/mirror/', 'http://hub.example:8080/mirror'],
    ['http://[::1]:5000', 'http://[::1]:5000'],
    ['http://my_registry:5000', 'http://my_registry:5000'],
  ])('the url %s is %s', (written, url) => {
    expect(firstUpstream(registry(`upstreams: [{ url: "${written}" }]`)).url).toBe(url)
  })
})

describe('variables', () => {
  const withName = (name: string, env: NodeJS.ProcessEnv) => load(`storage: { path: '/${name}' }`, { env }).storage.path

  test.each([
    ['${A}', { A: 'x' }, '/x'],
    ['${A}-${B_1}', { A: 'x', B_1: 'y' }, '/x-y'],
    ['${A:-d}', {}, '/d'],
    ['${A:-d}', { A: '' }, '/d'],
    ['${A:-d}', { A: 'x' }, '/x'],
    ['${A:-}end', {}, '/end'],
    ['${A}end', { A: '' }, '/end'],
    ['$${A}', { A: 'x' }, '/${A}'],
    ['$A$', { A: 'x' }, '/$A$'],
    ['${A}', { A: '${B}' }, '/${B}'],
  ])('%s with %j is %s', (name, env, path) => {
    expect(withName(name, env as NodeJS.ProcessEnv)).toBe(path)
  })

  test('what comes in is text, never YAML', () => {
    const password = 'a: [b, "c"] # {d}\n- e'

    const upstream = firstUpstream(registry(`upstreams: [{ url: "${HUB}", username: me, password: "\${P}" }]`), {
      env: { P: password },
    })

    expect(upstream.password).toBe(password)
  })

  test('a number stays text where text is wanted, and true is true where a flag is', () => {
    const text = `log: { access: "\${ACCESS}" }\n${registry(`upstreams: [{ url: "${HUB}", username: me, password: "\${P}" }]`)}`

    const config = load(text, { env: { P: '0123', ACCESS: 'false' } })

    expect(config.log.access).toBe(false)
    expect(config.registries[0]!.upstreams[0]!.password).toBe('0123')
  })

  test('keys and comments are left alone', () => {
    expect(faultsOf('# ${NOT_SET}\n${NOT_SET}: 1\n')).toEqual([
      expect.stringContaining('2:1: unknown key "${NOT_SET}" at the top'),
    ])
  })

  test('an anchor and its aliases share their text, each read once', () => {
    const text = 'registries:\n  docker.io: { tags: &t { ttl: "${TTL}" } }\n  ghcr.io: { tags: *t }\n'

    expect(load(text, { env: { TTL: '7s' } }).registries.map(({ tags }) => tags.ttlMs)).toEqual([7000, 7000])
  })
})

describe('secret files', () => {
  const text = registry(`upstreams: [{ url: "${HUB}", usernameFile: ./user, passwordFile: "\${SECRETS:-.}/token" }]`)

  test.each([
    ['without a line end', 'geheim', 'geheim'],
    ['with a line end', 'geheim\n', 'geheim'],
    ['with a Windows line end', 'geheim\r\n', 'geheim'],
    ['with spaces that belong to it', ' ge heim \n', ' ge heim '],
    ['with what looks like a variable', '${HOME}\n', '${HOME}'],
  ])('one %s is read from beside the configuration', (_case, content, password) => {
    expect(firstUpstream(text, { files: { user: 'me\n', token: content } })).toMatchObject({ username: 'me', password })
  })

  test('empty ones are no credentials', () => {
    const upstream = firstUpstream(text, { files: { user: '\n', token: '' } })

    expect(upstream).not.toHaveProperty('username')
    expect(upstream).not.toHaveProperty('password')
  })

  test('one empty one is half an account', () => {
    expect(faultsOf(text, { files: { user: 'me', token: '\n' } })).toEqual([
      expect.stringContaining('a username without a password'),
    ])
  })
})

test.each([
  ['auth:\n', undefined],
  ['auth: {}', { anonymous: ['pull'] }],
  ['auth: { anonymous: [] }', { anonymous: [] }],
  ['auth: { anonymous: [pull, push] }', { anonymous: ['pull', 'push'] }],
])('%j is auth %j', (text, auth) => {
  expect(load(text).auth).toEqual(auth)
})

test.each([
  [
    'a realm is below the host that is written, if it has no path',
    'https://Registry.Example',
    'https://registry.example/token',
  ],
  ['and as it is written otherwise', 'http://10.0.0.1:8080/auth/token', 'http://10.0.0.1:8080/auth/token'],
])('%s', (_case, realm, expected) => {
  expect(load(`auth: { htpasswd: users, realm: "${realm}" }`, { files: { users: '' } }).auth?.realm).toBe(expected)
})

test('an empty auth.htpasswd is none, as a variable that is not set makes it', () => {
  expect(load('auth: { htpasswd: "${USERS:-}" }').auth).toEqual({ anonymous: ['pull'] })
})

test('the whole configuration is frozen', () => {
  const thawed: string[] = []
  const visit = (value: unknown, path: string) => {
    if (typeof value !== 'object' || value === null) return
    if (!Object.isFrozen(value)) thawed.push(path)
    for (const [key, inner] of Object.entries(value)) visit(inner, `${path}.${key}`)
  }

  visit(load('auth: {}'), 'config')

  expect(thawed).toEqual([])
})

test('loading twice gives two configurations that share nothing', () => {
  const [one, other] = [load(''), load('')]

  expect(one.registries[0]!.upstreams[0]).not.toBe(other.registries[0]!.upstreams[0])
})

test('aliases that multiply without bound are a fault', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x]']
  for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef'].map((pair) => [...pair])) {
    lines.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(', ')}]`)
  }

  expect(faultsOf(lines.join('\n'))).toContainEqual('1:1: aliases (*) that multiply without bound')
})
