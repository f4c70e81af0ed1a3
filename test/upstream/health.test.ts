import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Consequence, consequenceOf } from '../../src/upstream/consequence.js'
import { UpstreamError, type UpstreamErrorOptions, type UpstreamFailure } from '../../src/upstream/errors.js'
import { Health } from '../../src/upstream/health.js'
import { Watch } from '../helpers/upstream.js'

test.each<[UpstreamFailure, UpstreamErrorOptions, Consequence]>([
  ['down', {}, { kind: 'count' }],
  ['down', { unreached: true }, { kind: 'open' }],
  ['slow', {}, { kind: 'count' }],
  ['slow', { silent: true }, { kind: 'open' }],
  ['slow', { trickling: true }, { kind: 'alive' }],
  ['lying', {}, { kind: 'alive' }],
  ['lying', { foreign: true }, { kind: 'count' }],
  ['limited', {}, { kind: 'rest', forMs: 60_000 }],
  ['limited', { retryAfterMs: 5000 }, { kind: 'rest', forMs: 5000 }],
  ['limited', { retryAfterMs: 86_400_000 }, { kind: 'rest', forMs: 900_000 }],
  ['quota', {}, { kind: 'rest', forMs: 600_000 }],
  ['denied', {}, { kind: 'alive' }],
  ['not-found', {}, { kind: 'alive' }],
])('%s %j has the consequence %j', (kind, options, consequence) => {
  expect(consequenceOf(new UpstreamError(kind, 'a reason', options))).toEqual(consequence)
})

describe('Health', () => {
  const unreached = new UpstreamError('down', 'refused', { unreached: true })
  const broken = new UpstreamError('down', 'answered 503')
  let watch: Watch
  let health: Health
  let probes: { succeed: () => void; fail: (error: unknown) => void }[]

  beforeEach(() => {
    vi.useFakeTimers()
    watch = new Watch()
    probes = []
    const probe = () => new Promise<void>((succeed, fail) => void probes.push({ succeed, fail }))
    health = new Health({
      registry: 'docker.io',
      upstream: 'hub',
      probe,
      events: watch.events,
      log: watch.log,
      now: Date.now,
    })
  })

  afterEach(() => {
    vi.useRealTimers()
  })

  const settle = () => vi.advanceTimersByTimeAsync(0)

  test('an upstream that cannot be reached is left alone at once, and told so once', () => {
    for (let i = 0; i < 5; i++) health.failed(unreached)

    expect(health.usable()).toBe(false)
    expect(watch.states).toEqual(['hub open'])
    expect(watch.lines).toMatchObject([{ module: 'health', upstream: 'hub', state: 'open', reason: 'refused' }])
  })

  test('one that fails is left alone after three in a row', () => {
    health.failed(broken)
    health.failed(broken)
    expect(health.usable()).toBe(true)

    health.failed(broken)

    expect(health.usable()).toBe(false)
  })

  test('a probe is sent by itself when the cool-down ends, one only, and brings it back', async () => {
    health.failed(unreached)
    await vi.advanceTimersByTimeAsync(9999)
    expect(probes).toHaveLength(0)

    await vi.advanceTimersByTimeAsync(2)

    expect([health.usable(), health.usable(), probes.length]).toEqual([false, false, 1])
    probes[0]?.succeed()
    await settle()
    expect([health.usable(), health.state]).toEqual([true, 'up'])
    expect(watch.states).toEqual(['hub open', 'hub up'])
  })

  test('a probe that fails doubles the cool-down', async () => {
    health.failed(unreached)
    await vi.advanceTimersByTimeAsync(10_001)
    probes[0]?.fail(unreached)
    await vi.advanceTimersByTimeAsync(19_999)
    expect(probes).toHaveLength(1)

    await vi.advanceTimersByTimeAsync(2)

    expect(probes).toHaveLength(2)
    expect(watch.states).toEqual(['hub open'])
  })

  test('a probe answered 429 says that it is alive and rests', async () => {
    health.failed(unreached)
    await vi.advanceTimersByTimeAsync(10_001)
    probes[0]?.fail(new UpstreamError('limited', 'answered 429', { retryAfterMs: 5000 }))
    await settle()
    expect(health.state).toBe('limited')

    await vi.advanceTimersByTimeAsync(5001)

    expect(watch.states).toEqual(['hub open', 'hub limited', 'hub up'])
  })

  test('a limited one says how long it still rests, and is asked again after that without a probe', async () => {
    health.failed(new UpstreamError('limited', 'answered 429', { retryAfterMs: 30_000 }))
    await vi.advanceTimersByTimeAsync(10_000)
    expect(health.skipped()).toMatchObject({ kind: 'limited', retryAfterMs: 20_000 })

    await vi.advanceTimersByTimeAsync(20_001)

    expect([health.usable(), probes.length]).toEqual([true, 0])
    expect(watch.states).toEqual(['hub limited', 'hub up'])
  })

  test('says of each state why it is so and until when, whatever failed since', async () => {
    const at = Date.now()
    const told = () => [health.state, health.reason, health.until === undefined ? undefined : health.until - at]
    const before = told()
    health.failed(new UpstreamError('quota', 'answered 402'))
    const resting = told()
    health.failed(new UpstreamError('down', 'answered 503'))
    const stillResting = told()
    const skipped = health.skipped()
    health.failed(unreached)
    const open = told()
    health.quarantine(new UpstreamError('lying', 'does not match'))
    health.failed(broken)
    const quarantined = told()

    expect([before, resting, stillResting, open, quarantined]).toEqual([
      ['up', undefined, undefined],
      ['limited', 'answered 402', 600_000],
      ['limited', 'answered 402', 600_000],
      ['open', 'refused', 10_000],
      ['quarantined', 'does not match', 600_000],
    ])
    expect(skipped).toMatchObject({ kind: 'quota', retryAfterMs: 600_000 })
  })

  test('a shorter rest does not end a longer one, and the log says until when', () => {
    health.failed(new UpstreamError('limited', 'answered 429', { retryAfterMs: 60_000 }))
    health.failed(new UpstreamError('limited', 'answered 429', { retryAfterMs: 1000 }))

    expect(health.until).toBe(Date.now() + 60_000)
    expect(watch.lines).toMatchObject([{ state: 'limited', until: new Date(Date.now() + 60_000).toISOString() }])
  })

  test('does not say until when while a probe finds out', async () => {
    health.failed(unreached)
    await vi.advanceTimersByTimeAsync(10_001)

    expect([health.state, health.reason, health.until]).toEqual(['open', 'refused', undefined])
  })

  test('quarantine lasts ten minutes whatever it answers', async () => {
    health.quarantine(new UpstreamError('lying', 'the blob does not match its digest'))
    health.succeeded()
    await vi.advanceTimersByTimeAsync(599_999)
    expect(health.state).toBe('quarantined')

    await vi.advanceTimersByTimeAsync(2)

    expect(health.state).toBe('up')
  })

  test('a refusal or an absence leaves it up, and says that it is alive', () => {
    for (let i = 0; i < 5; i++) health.failed(new UpstreamError('not-found', 'answered 404'))
    expect(health.usable()).toBe(true)
    health.failed(unreached)

    health.failed(new UpstreamError('denied', 'answered 403'))

    expect(health.usable()).toBe(true)
  })

  test('closing waits for the probe and leaves no timer', async () => {
    health.failed(unreached)
    await vi.advanceTimersByTimeAsync(10_001)
    const closed = health.close()
    probes[0]?.fail(new Error('aborted'))

    await closed

    expect(vi.getTimerCount()).toBe(0)
    expect(watch.states).toEqual(['hub open'])
  })
})
