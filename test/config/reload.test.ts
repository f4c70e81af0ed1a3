import { describe, expect, test } from 'vitest'
import { planReload } from '../../src/config/reload.js'
import { load } from './files.js'

const configOf = (file: object) => load(JSON.stringify(file))

const REGISTRIES = {
  'docker.io': {
    upstreams: [
      { name: 'near', url: 'https://near.example' },
      { name: 'far', url: 'https://far.example' },
      { name: 'hub', url: 'https://hub.example', role: 'origin', username: 'me', password: 'geheim' },
    ],
  },
  'ghcr.io': {},
}
const BASE = { storage: { path: '/data' }, registries: REGISTRIES }

function plan(wanted: object, running: object = BASE) {
  const { config, ...named } = planReload(configOf(running), configOf({ ...BASE, ...wanted }))
  return { config, named }
}

const dockerIo = (registry: object, upstreams: object[] = REGISTRIES['docker.io'].upstreams) => ({
  registries: { ...REGISTRIES, 'docker.io': { ...registry, upstreams } },
})
const [near, far, hub] = REGISTRIES['docker.io'].upstreams as [object, object, object]

describe('what a reload comes to', () => {
  test('the same file changes nothing', () => {
    expect(plan({}).named).toEqual({ added: [], removed: [], changed: [], restart: [] })
  })

  test.each<[string, object, object]>([
    [
      'upstreams that come and go',
      dockerIo({}, [near, { name: 'new', url: 'https://new.example' }, hub]),
      { added: ['docker.io/new'], removed: ['docker.io/far'] },
    ],
    [
      'an upstream with another url',
      dockerIo({}, [{ ...near, url: 'https://x.example' }, far, hub]),
      changed('docker.io/near'),
    ],
    [
      'an upstream with another password',
      dockerIo({}, [near, far, { ...hub, password: 'neu' }]),
      changed('docker.io/hub'),
    ],
    ['another order', dockerIo({}, [far, near, hub]), changed('registries.docker.io.upstreams')],
    [
      'other tags',
      dockerIo({ tags: { ttl: '1m' }, negativeTtl: '1s' }),
      changed('registries.docker.io.tags', 'registries.docker.io.negativeTtl'),
    ],
    [
      'a registry that goes and one that comes',
      { registries: { 'docker.io': REGISTRIES['docker.io'], 'quay.io': {} } },
      { added: ['quay.io', 'quay.io/quay'], removed: ['ghcr.io', 'ghcr.io/ghcr'] },
    ],
    [
      'what holds for every upstream',
      { upstream: { timeouts: { idle: '9s' } } },
      changed('docker.io/near', 'docker.io/far', 'docker.io/hub', 'ghcr.io/ghcr'),
    ],
    [
      'budgets',
      { upstream: { firstHeaderBudget: '9s', revalidationBudget: '1s' } },
      changed('upstream.firstHeaderBudget', 'upstream.revalidationBudget'),
    ],
    ['who may push', { auth: { anonymous: ['pull', 'push'] } }, changed('auth')],
    ['segments', { upstream: { segments: { size: '1MiB' } } }, changed('upstream.segments')],
    ['prefetching', { prefetch: { concurrency: 9 } }, changed('prefetch.concurrency')],
    [
      'the cap',
      { storage: { path: '/data', maxSize: '1GiB', lowWatermark: '50%' } },
      changed('storage.maxSize', 'storage.lowWatermark'),
    ],
    [
      'garbage collection',
      { gc: { every: '1h', retention: [{ repositories: 'local/**', keepLast: 3 }] } },
      changed('gc.every', 'gc.retention'),
    ],
    ['immutable tags', { local: { immutableTags: [{ repositories: 'local/**' }] } }, changed('local.immutableTags')],
    ['the level', { log: { level: 'debug' } }, changed('log.level')],
  ])('%s', (_case, wanted, named) => {
    const planned = plan(wanted)

    expect(planned.named).toEqual({ added: [], removed: [], changed: [], restart: [], ...named })
    expect(planned.config).toEqual(configOf({ ...BASE, ...wanted }))
  })

  test('what cannot change while it runs is named, stays as it was, and keeps nothing else back', () => {
    const wanted = {
      server: { listen: '127.0.0.1:6000' },
      storage: { path: '/other', memory: '1MiB', maxSize: '1GiB' },
      local: { namespaces: ['mine'] },
      log: { access: false, level: 'warn' },
    }

    const { config, named } = plan(wanted)

    expect(named).toMatchObject({
      changed: ['storage.maxSize', 'log.level'],
      restart: ['server.listen', 'storage.path', 'storage.memory', 'local.namespaces', 'log.access'],
    })
    const running = configOf(BASE)
    expect(config).toMatchObject({ server: running.server, local: running.local })
    expect(config.storage).toEqual({ ...running.storage, maxSizeBytes: 2 ** 30 })
    expect(config.log).toEqual({ access: true, level: 'warn' })
  })
})

function changed(...names: string[]) {
  return { changed: names }
}
