import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { EventBus, type Events } from '../../src/events.js'
import { digestOf } from '../../src/oci/digest.js'
import { parseRepository, parseTag, referenceOf } from '../../src/oci/reference.js'
import type { UpstreamStatus } from '../../src/stats/document.js'
import { Statistics } from '../../src/stats/statistics.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const START = Date.UTC(2030, 0, 1, 10, 0, 30)
const BLOB = digestOf(Buffer.from('blob'))
const repository = parseRepository('library/nginx')
const hub: UpstreamStatus = {
  registry: 'docker.io',
  name: 'hub',
  role: 'origin',
  state: 'up',
  requests: 0,
  errors: 0,
  bytes: 0,
  ttfbMs: 12,
  bytesPerSecond: 5000,
}

/** A mirror's worth of surroundings: clock, store, and what the counted parts would say. */
class World {
  time = START
  readonly values = new Map<string, string>()
  readonly written: string[] = []
  readonly lines: Record<string, unknown>[] = []
  upstreams: UpstreamStatus[] = [hub]
  full = false
  events!: EventBus
  readonly #running: Statistics[] = []

  /** A process on this store; an earlier one is not stopped, as after a crash. */
  boot(): Statistics {
    this.events = new EventBus({
      onListenerError: (error) => {
        throw error
      },
    })
    const statistics = new Statistics({
      events: this.events,
      store: {
        getValue: (name) => this.values.get(name),
        setValue: (name, value) => {
          if (this.full) throw new Error('disk full')
          this.written.push(name)
          this.values.set(name, value)
        },
      },
      cache: () => ({ blobs: 3, manifests: 2, sizeBytes: 4096, maxSizeBytes: 100_000 }),
      gc: () => undefined,
      local: () => ({ repositories: 1, tags: 4, sizeBytes: 77 }),
      upstreams: () => this.upstreams,
      log: pino({}, { write: (line: string) => void this.lines.push(JSON.parse(line)) }),
      now: () => this.time,
    })
    statistics.start()
    this.#running.push(statistics)
    return statistics
  }

  served(event: Partial<Events['content.served']> = {}): void {
    this.events.emit('content.served', {
      registry: 'docker.io',
      repository,
      content: 'blob',
      digest: BLOB,
      outcome: 'hit',
      bytes: 0,
      source: undefined,
      ...event,
    })
  }

  failed(event: Partial<Events['content.failed']> = {}): void {
    this.events.emit('content.failed', {
      registry: 'docker.io',
      repository,
      content: 'blob',
      status: 502,
      bytes: 0,
      ...event,
    })
  }

  received(bytes: number, registry = 'docker.io'): void {
    this.events.emit('upstream.received', { registry, upstream: 'hub', bytes, durationMs: 5 })
  }

  end(): void {
    this.full = false
    for (const statistics of this.#running) statistics.stop()
  }
}

let world: World
beforeEach(() => {
  vi.useFakeTimers()
  world = new World()
})
afterEach(() => {
  world.end()
  vi.useRealTimers()
})

describe('the document', () => {
  test('before anything happened it is all there, in its order, with ratios of 0', () => {
    const statistics = world.boot()
    world.time += 61_500

    const text = JSON.stringify(statistics.snapshot())

    const none = '{"total":0,"hit":0,"join":0,"miss":0,"stale":0,"error":0}'
    const nothing = '{"served":0,"fromCache":0,"fromUpstream":0,"saved":0}'
    expect(text).toBe(
      `{"since":"2030-01-01T10:00:30Z","uptimeSeconds":61,"requests":${none},"hitRatio":0,"byteHitRatio":0,"bytes":${nothing},` +
        '"cache":{"blobs":3,"manifests":2,"sizeBytes":4096,"maxSizeBytes":100000,"evictions":0,"evictedBytes":0,"fills":0},' +
        '"local":{"repositories":1,"tags":4,"sizeBytes":77,"pushes":{"blobs":0,"manifests":0,"bytes":0},"deletes":0},' +
        '"tags":{"diverged":0},' +
        '"upstreams":[{"registry":"docker.io","name":"hub","role":"origin","state":"up","requests":0,"errors":0,"bytes":0,"ttfbMs":12,"bytesPerSecond":5000}],' +
        `"registries":{"docker.io":{"requests":${none},"bytes":${nothing},"tags":{"diverged":0}}},"topRepositories":[]}`,
    )
  })

  test('every outcome is counted, and the ratios leave errors out', () => {
    const statistics = world.boot()

    for (const [outcome, bytes] of [
      ['hit', 100],
      ['hit', 0],
      ['join', 20],
      ['miss', 300],
      ['stale', 7],
    ] as const) {
      world.served({ outcome, bytes })
    }
    world.failed({ bytes: 5 })
    world.received(320)

    const { requests, hitRatio, byteHitRatio, bytes, registries } = statistics.snapshot()
    expect(requests).toEqual({ total: 6, hit: 2, join: 1, miss: 1, stale: 1, error: 1 })
    expect(hitRatio).toBe(4 / 5)
    expect(bytes).toEqual({ served: 432, fromCache: 127, fromUpstream: 320, saved: 112 })
    expect(byteHitRatio).toBe(127 / 432)
    expect(registries['docker.io']).toEqual({ requests, bytes, tags: { diverged: 0 } })
  })

  test('registries are counted apart and summed, savings of the whole by the sums', () => {
    const statistics = world.boot()

    world.served({ outcome: 'hit', bytes: 10 })
    world.served({ registry: 'ghcr.io', outcome: 'miss', bytes: 1 })
    world.received(100, 'ghcr.io')

    const { requests, bytes, registries } = statistics.snapshot()
    expect(requests.total).toBe(2)
    expect(bytes.saved).toBe(0)
    expect(registries['docker.io']!.bytes.saved).toBe(10)
    expect(registries['ghcr.io']).toMatchObject({
      requests: { total: 1, miss: 1 },
      bytes: { fromUpstream: 100, saved: 0 },
    })
  })

  test('an upstream that is not up says why and until when, and what it refuses', () => {
    const until = START + 30_000
    const refusals = [{ repository: 'org/app', reason: 'answered 403', until }]
    world.upstreams = [{ ...hub, state: 'limited', reason: 'answered 429', until, refusals }, hub]

    const [limited, up] = world.boot().snapshot().upstreams

    expect(limited).toMatchObject({
      state: 'limited',
      reason: 'answered 429',
      until: '2030-01-01T10:01:00Z',
      refusals: [{ repository: 'org/app', reason: 'answered 403', until: '2030-01-01T10:01:00Z' }],
    })
    expect(Object.keys(up!)).not.toContain('reason')
  })

  test('what is pushed and deleted is counted, over a restart too, after one that did not count it', () => {
    world.values.set('stats.total', JSON.stringify(stored({})))
    world.boot()
    const pushed = { repository, digest: BLOB }
    world.events.emit('blob.pushed', { ...pushed, bytes: 1000, mounted: false })
    world.events.emit('blob.pushed', { ...pushed, bytes: 5000, mounted: true })
    const tags = [parseTag('latest')]
    world.events.emit('manifest.pushed', { ...pushed, reference: referenceOf(BLOB), bytes: 30, tags })
    world.events.emit('tag.deleted', { repository, tag: 'latest' })
    world.events.emit('manifest.deleted', pushed)
    world.events.emit('blob.deleted', pushed)
    vi.advanceTimersByTime(5_000)

    const { local } = world.boot().snapshot()

    expect(local).toMatchObject({ pushes: { blobs: 2, manifests: 1, bytes: 1030 }, deletes: 3 })
  })

  test('tags on which upstreams differ are counted, over a restart too, after one that did not count them', () => {
    const registries = {
      'docker.io': { hit: 7, join: 0, miss: 0, stale: 0, error: 0, served: 0, fromCache: 0, fromUpstream: 0 },
    }
    const before = stored({})
    world.values.set('stats.total', JSON.stringify({ ...before, tally: { ...before.tally, registries } }))
    world.boot()
    const words = [
      { upstream: 'hub', digest: BLOB },
      { upstream: 'other', digest: digestOf(Buffer.from('other')) },
    ]
    for (const registry of ['docker.io', 'docker.io', 'ghcr.io'])
      world.events.emit('tag.diverged', { registry, repository, tag: parseTag('latest'), digest: BLOB, words })
    vi.advanceTimersByTime(5_000)

    const { requests, tags, registries: counted } = world.boot().snapshot()

    expect([requests.hit, tags]).toEqual([7, { diverged: 3 }])
    expect([counted['docker.io']?.tags, counted['ghcr.io']?.tags]).toEqual([{ diverged: 2 }, { diverged: 1 }])
  })

  test('what was pushed here does not count', () => {
    const statistics = world.boot()

    world.served({ registry: undefined, outcome: 'local', bytes: 100 })
    world.failed({ registry: undefined, status: 404 })

    expect(statistics.snapshot()).toMatchObject({ requests: { total: 0 }, bytes: { served: 0 }, topRepositories: [] })
  })

  test('fills and evictions are counted', () => {
    const statistics = world.boot()

    world.events.emit('blob.filled', { digest: BLOB, bytes: 10, source: 'hub' })
    world.events.emit('blob.evicted', { digest: BLOB, bytes: 10 })
    world.events.emit('blob.evicted', { digest: BLOB, bytes: 30 })

    expect(statistics.snapshot().cache).toMatchObject({ fills: 1, evictions: 2, evictedBytes: 40 })
  })

  test('an upstream has its state of now and a rate limit when it told one', () => {
    const statistics = world.boot()
    const rateLimit = { limit: 100, remaining: 87, windowSeconds: 21_600 }

    world.upstreams = [{ ...hub, state: 'limited', requests: 3, errors: 1, bytes: 9, rateLimit }]

    expect(statistics.snapshot().upstreams).toEqual(world.upstreams)
  })
})

describe('topRepositories', () => {
  test('the twenty with the most bytes, each with its own hit ratio', () => {
    const statistics = world.boot()

    for (let at = 1; at <= 25; at++)
      world.served({ repository: parseRepository(`org/app-${at}`), outcome: 'miss', bytes: at })
    world.served({ repository: parseRepository('org/app-25'), bytes: 25 })
    world.failed({ repository: parseRepository('org/app-25') })

    const top = statistics.snapshot().topRepositories
    expect(top).toHaveLength(20)
    expect(top[0]).toEqual({ name: 'docker.io/org/app-25', requests: 3, bytesServed: 50, hitRatio: 0.5 })
    expect(top.at(-1)!.name).toBe('docker.io/org/app-6')
  })

  test('names asked for once, however many, do not push out one that is asked for often, and cost bounded memory', () => {
    const statistics = world.boot()

    for (let at = 0; at < 3; at++) world.served({ bytes: 1 })
    for (let at = 0; at < 25_000; at++) world.failed({ repository: parseRepository(`no/such-${at}`), status: 404 })
    statistics.stop()

    expect(statistics.snapshot().topRepositories[0]).toMatchObject({ name: 'docker.io/library/nginx', requests: 3 })
    expect(statistics.snapshot().requests.error).toBe(25_000)
    const kept = [...world.values].map(
      ([name, text]) => [name, Object.keys(JSON.parse(text).tally.repositories).length] as const,
    )
    for (const [name, names] of kept) expect(names).toBeLessThanOrEqual(name === 'stats.total' ? 10_000 : 500)
  })
})

describe('windows', () => {
  test('an hour leaves out what is older, and begins with the minute that holds its start', () => {
    const statistics = world.boot()

    world.served({ bytes: 1 })
    world.time += HOUR_MS / 2
    world.served({ bytes: 10 })
    world.time += HOUR_MS / 2
    world.served({ bytes: 100 })

    expect(statistics.snapshot(HOUR_MS)).toMatchObject({ since: '2030-01-01T10:00:30Z', bytes: { served: 111 } })
    world.time += 60_000
    expect(statistics.snapshot(HOUR_MS)).toMatchObject({ since: '2030-01-01T10:01:00Z', bytes: { served: 110 } })
    world.time += HOUR_MS - 30_001
    expect(statistics.snapshot(HOUR_MS)).toMatchObject({ requests: { total: 1 }, bytes: { served: 100 } })
  })

  test('24 hours and 7 days are sums of hours, and nothing is counted twice when the ring comes round', () => {
    const statistics = world.boot()

    for (let day = 0; day < 10; day++) {
      world.served({ bytes: 1 })
      world.events.emit('blob.filled', { digest: BLOB, bytes: 1, source: undefined })
      world.time += DAY_MS
    }

    expect(statistics.snapshot(DAY_MS)).toMatchObject({ since: '2030-01-10T10:00:00Z', requests: { total: 1 } })
    expect(statistics.snapshot(7 * DAY_MS)).toMatchObject({
      since: '2030-01-04T10:00:00Z',
      requests: { total: 7 },
      cache: { fills: 7, blobs: 3 },
      topRepositories: [{ requests: 7, bytesServed: 7 }],
    })
    expect(statistics.snapshot().requests.total).toBe(10)
  })

  test.each([
    ['minutes', 61 * 60_000, HOUR_MS],
    ['hours', 169 * HOUR_MS, 7 * DAY_MS],
  ])('a bucket of %s that is used again has forgotten what it held', (_case, ringMs, windowMs) => {
    const statistics = world.boot()
    world.served({ bytes: 1 })
    world.time += ringMs

    world.served({ bytes: 10 })

    expect(statistics.snapshot(windowMs)).toMatchObject({ requests: { total: 1 }, bytes: { served: 10 } })
  })

  test('an upstream counts in the window in which it was asked', () => {
    const statistics = world.boot()
    world.upstreams = [{ ...hub, requests: 5, errors: 1, bytes: 50 }]
    statistics.snapshot()
    world.time += 2 * HOUR_MS

    world.upstreams = [{ ...hub, requests: 7, errors: 1, bytes: 80 }]

    expect(statistics.snapshot(HOUR_MS).upstreams).toMatchObject([{ requests: 2, errors: 0, bytes: 30 }])
    expect(statistics.snapshot().upstreams).toMatchObject([{ requests: 7, errors: 1, bytes: 80 }])
  })
})

describe('a restart', () => {
  test('totals, windows and their beginning go on; the uptime does not', () => {
    world.upstreams = [{ ...hub, requests: 5, errors: 1, bytes: 50 }]
    const first = world.boot()
    world.served({ outcome: 'miss', bytes: 50 })
    world.received(50)
    first.stop()
    world.time += 600_000

    world.upstreams = [{ ...hub, requests: 2, errors: 0, bytes: 0 }]
    const second = world.boot()
    world.served({ bytes: 50 })

    const expected = {
      since: '2030-01-01T10:00:30Z',
      uptimeSeconds: 0,
      requests: { total: 2, hit: 1, miss: 1 },
      bytes: { served: 100, fromUpstream: 50 },
      upstreams: [{ requests: 7, errors: 1, bytes: 50 }],
      topRepositories: [{ name: 'docker.io/library/nginx', requests: 2, bytesServed: 100, hitRatio: 0.5 }],
    }
    expect(second.snapshot()).toMatchObject(expected)
    expect(second.snapshot(HOUR_MS)).toMatchObject(expected)
    expect(second.snapshot(7 * DAY_MS)).toMatchObject(expected)
  })

  test('a crash loses at most the last five seconds', () => {
    world.boot()
    world.served()
    vi.advanceTimersByTime(5_000)
    world.served()

    expect(world.boot().snapshot().requests.total).toBe(1)
  })

  test('what did not change is not written again', () => {
    world.boot()
    world.served()
    vi.advanceTimersByTime(5_000)
    expect(world.written).toHaveLength(3)

    vi.advanceTimersByTime(60_000)

    expect(world.written).toHaveLength(3)
  })

  test.each([
    ['no JSON', '{"version":1,'],
    ['another version', '{"version":2,"since":1,"tally":{}}'],
    ['a negative count', JSON.stringify(stored({ fills: -1 }))],
    ['a count that is text', JSON.stringify(stored({ fills: '1' }))],
    ['an unknown count', JSON.stringify(stored({ purges: 1 }))],
  ])('%s in the store starts that part anew, with a line in the log', (_case, text) => {
    world.values.set('stats.total', text)

    const statistics = world.boot()

    expect(statistics.snapshot()).toMatchObject({
      since: '2030-01-01T10:00:30Z',
      requests: { total: 0 },
      cache: { fills: 0 },
    })
    expect(world.lines).toMatchObject([
      { value: 'stats.total', msg: 'stored statistics are unreadable: this part starts anew' },
    ])
  })

  test('a store that cannot be written is said once, and everything is written when it can be again', () => {
    world.boot()
    world.full = true
    world.served()
    vi.advanceTimersByTime(20_000)
    expect(world.lines).toMatchObject([{ msg: 'statistics cannot be saved', reason: 'disk full' }])

    world.full = false
    vi.advanceTimersByTime(5_000)

    expect(world.boot().snapshot().requests.total).toBe(1)
  })
})

function stored(cache: object) {
  const counts = { fills: 0, evictions: 0, evictedBytes: 0, ...cache }
  return { version: 1, since: 1, tally: { cache: counts, registries: {}, upstreams: {}, repositories: {} } }
}
