import { describe, expect, test } from 'vitest'
import { UpstreamError } from '../../src/upstream/errors.js'
import { MovingAverage } from '../../src/upstream/moving-average.js'
import { preferenceOf, trialOf } from '../../src/upstream/preference.js'
import { Traffic } from '../../src/upstream/traffic.js'
import { Watch } from '../helpers/upstream.js'

const MINUTE = 60_000

function start() {
  const clock = { now: 0 }
  const { events } = new Watch()
  const traffic = () => new Traffic({ registry: 'docker.io', upstream: 'a', events, now: () => clock.now })
  return { clock, traffic }
}

describe('a moving average', () => {
  test('is nothing before the first sample, and the sample after it', () => {
    const average = new MovingAverage(() => 0)
    expect([average.value, average.weight]).toEqual([undefined, 0])

    average.add(8)

    expect([average.value, average.weight]).toEqual([8, 1])
  })

  test('follows what is new, and is founded on at most five samples', () => {
    const average = new MovingAverage(() => 0)
    for (let samples = 0; samples < 100; samples++) average.add(10)
    expect(average.weight).toBeCloseTo(5)

    average.add(20)

    expect(average.value).toBeCloseTo(12)
  })

  test('keeps its value and loses half of its weight in five minutes', () => {
    let now = 0
    const average = new MovingAverage(() => now)
    average.add(10)

    now = 5 * MINUTE

    expect([average.value, average.weight]).toEqual([10, 0.5])
    average.add(24)
    expect(average.value).toBeCloseTo(20)
  })
})

describe('what is measured', () => {
  test('of manifests and blobs is held apart, and refusals do not count as quick answers', () => {
    const traffic = start().traffic()
    traffic.answered(200, 10, 'manifest')
    traffic.answered(206, 500, 'blob')
    traffic.answered(404, 1, 'manifest')
    traffic.received(1_000_000, 1000)

    expect(traffic.measured('manifest')).toEqual({
      ttfbMs: { value: 10, weight: 1 },
      bytesPerSecond: undefined,
      errors: 0,
    })
    expect(traffic.measured('blob')).toMatchObject({ ttfbMs: { value: 500 }, bytesPerSecond: { value: 1_000_000 } })
  })

  test('of a body: its rate if it was long, in bytes or in time', () => {
    const traffic = start().traffic()
    traffic.received(1000, 1)
    expect(traffic.measured('blob').bytesPerSecond).toBeUndefined()

    traffic.received(1000, 2000)

    expect(traffic.measured('blob').bytesPerSecond).toMatchObject({ value: 500 })
  })

  test('when another one was quicker: that it takes at least so long, and no failure', () => {
    const traffic = start().traffic()
    traffic.outrun(750, 'blob')

    expect(traffic.measured('blob')).toMatchObject({ ttfbMs: { value: 750 }, errors: 0 })
    expect(traffic.figures()).toMatchObject({ errors: 0, ttfbMs: 750 })
  })

  test('as failures: faults, not refusals; one among good answers is little, and many are most', () => {
    const traffic = start().traffic()
    for (const kind of ['not-found', 'denied', 'limited', 'quota'] as const) traffic.failed(new UpstreamError(kind, ''))
    for (let answers = 0; answers < 3; answers++) traffic.answered(200, 10, 'manifest')
    expect(traffic.measured('manifest').errors).toBe(0)

    traffic.failed(new UpstreamError('down', ''))
    const once = traffic.measured('manifest').errors
    for (let failures = 0; failures < 20; failures++) traffic.failed(new UpstreamError('slow', ''))

    expect(once).toBeLessThan(0.25)
    expect(traffic.measured('manifest').errors).toBeGreaterThan(0.6)
  })

  test('one that was slow is passed over, tried again some minutes later, and comes back once it is quick', () => {
    const { clock, traffic } = start()
    const [slow, quick] = [traffic(), traffic()]
    let order: number[] = []
    let times = 0
    const first = () => {
      const measured = [slow.measured('manifest'), quick.measured('manifest')]
      order = preferenceOf(measured, order)
      return trialOf(order, measured, times++) ?? order[0]
    }
    for (let answers = 0; answers < 10; answers++) {
      slow.answered(200, 1000, 'manifest')
      quick.answered(200, 100, 'manifest')
    }
    expect(first()).toBe(1)

    const asked: number[] = []
    for (let minutes = 0; minutes < 60; minutes++) {
      clock.now += MINUTE
      const chosen = first()
      if (chosen === 0) asked.push(minutes)
      const one = chosen === 0 ? slow : quick
      one.answered(200, 100, 'manifest')
    }

    // Asked now and then at first, and always in the end.
    expect(asked[0]).toBeGreaterThan(3)
    expect(asked.length).toBeGreaterThan(20)
    expect(asked.slice(-10)).toEqual([50, 51, 52, 53, 54, 55, 56, 57, 58, 59])
  })
})
