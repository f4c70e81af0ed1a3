import { describe, expect, test } from 'vitest'
import { type Measured, preferenceOf, trialOf } from '../../src/upstream/preference.js'

interface Sketch {
  ttfb?: number
  rate?: number
  errors?: number
  weight?: number
}

const of = ({ ttfb, rate, errors = 0, weight = 5 }: Sketch): Measured => ({
  ttfbMs: ttfb === undefined ? undefined : { value: ttfb, weight },
  bytesPerSecond: rate === undefined ? undefined : { value: rate, weight },
  errors,
})

const orderOf = (upstreams: Sketch[], before?: number[]) => preferenceOf(upstreams.map(of), before)

test.each<[string, Sketch[], number[]]>([
  ['nothing is known', [{}, {}, {}], [0, 1, 2]],
  ['only the others are known', [{}, { ttfb: 1 }, { ttfb: 1 }], [0, 1, 2]],
  ['only the first is known', [{ ttfb: 900 }, {}], [0, 1]],
  ['too little is known of the first', [{ ttfb: 900, weight: 1.9 }, { ttfb: 10 }], [0, 1]],
  ['too little is known of the other', [{ ttfb: 900 }, { ttfb: 10, weight: 1.9 }], [0, 1]],
  ['they are equal', [{ ttfb: 100 }, { ttfb: 100 }], [0, 1]],
  ['another is a little quicker', [{ ttfb: 140 }, { ttfb: 100 }], [0, 1]],
  ['the difference is beneath notice', [{ ttfb: 20 }, { ttfb: 1 }], [0, 1]],
  [
    'another has no more than a little more bandwidth',
    [
      { ttfb: 1, rate: 10e6 },
      { ttfb: 1, rate: 12e6 },
    ],
    [0, 1],
  ],
  ['the rate of one is not known', [{ ttfb: 1, rate: 1e3 }, { ttfb: 1 }], [0, 1]],
  ['one failure in seven', [{ ttfb: 100, errors: 1 / 7 }, { ttfb: 100 }], [0, 1]],
])('the configured order holds when %s', (_case, upstreams, order) => {
  expect(orderOf(upstreams)).toEqual(order)
})

test.each<[string, Sketch[], number[]]>([
  ['is clearly quicker', [{ ttfb: 900 }, { ttfb: 100 }], [1, 0]],
  [
    'has clearly more bandwidth',
    [
      { ttfb: 10, rate: 1e6 },
      { ttfb: 100, rate: 10e6 },
    ],
    [1, 0],
  ],
  ['fails less', [{ ttfb: 100, errors: 0.5 }, { ttfb: 100 }], [1, 0]],
  ['is the best of several', [{ ttfb: 900 }, { ttfb: 300 }, { ttfb: 100 }], [2, 1, 0]],
  ['gives nothing at all but failures less', [{ ttfb: 100, errors: 1 }, { ttfb: 300 }], [1, 0]],
  [
    'moves',
    [
      { ttfb: 1, rate: 0 },
      { ttfb: 1, rate: 1e5 },
    ],
    [1, 0],
  ],
])('an upstream comes before those configured before it when it %s', (_case, upstreams, order) => {
  expect(orderOf(upstreams)).toEqual(order)
})

test('those in between keep the configured order', () => {
  expect(orderOf([{ ttfb: 100 }, {}, { ttfb: 900 }, { ttfb: 110 }])).toEqual([0, 1, 3, 2])
})

describe('who is ahead', () => {
  test.each<[number, number[], number[]]>([
    [170, [], [0, 1]],
    [170, [0, 1], [0, 1]],
    [170, [1, 0], [1, 0]],
    [135, [1, 0], [1, 0]],
    [125, [1, 0], [0, 1]],
    [180, [], [1, 0]],
    [180, [0, 1], [1, 0]],
  ])('of %i ms against 100 ms, after %j, is %j', (ttfb, before, order) => {
    expect(orderOf([{ ttfb }, { ttfb: 100 }], before)).toEqual(order)
  })

  test('does not change while two wander about the threshold', () => {
    let order: number[] = []
    const seen = [165, 185, 160, 180, 150, 190, 140, 178, 172].map((ttfb) => {
      order = orderOf([{ ttfb }, { ttfb: 100 }], order)
      return order[0]
    })

    expect(seen).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1])
  })

  test('stays ahead when what is known of the other has aged', () => {
    expect(orderOf([{ ttfb: 900, weight: 1 }, { ttfb: 100 }], [1, 0])).toEqual([1, 0])
  })
})

describe('a trial', () => {
  const firsts = (order: number[], upstreams: Sketch[]) =>
    Array.from({ length: 12 }, (_, times) => trialOf(order, upstreams.map(of), times) ?? order[0])

  test.each<[string, number[], Sketch[], number[]]>([
    ['nobody while the first is quick', [0, 1], [{ ttfb: 100 }, {}], [0, 0, 0]],
    ['nobody while the first is unknown', [0, 1], [{}, {}], [0, 0, 0]],
    ['nobody when all are known', [0, 1], [{ ttfb: 900 }, { ttfb: 800 }], [0, 0, 0]],
    ['the unknown in turn while the first is slow', [0, 1, 2], [{ ttfb: 900 }, {}, {}], [1, 2, 1]],
    ['one whose rate is unknown while the first is slow', [0, 1], [{ ttfb: 1, rate: 1e6 }, { ttfb: 1 }], [1, 1, 1]],
    ['one that is configured before a quick first', [1, 0], [{ ttfb: 900, weight: 1 }, { ttfb: 10 }], [0, 0, 0]],
  ])('puts first: %s', (_case, order, upstreams, tried) => {
    const [usual] = order

    const trials = [tried[0], tried[1], tried[2]].flatMap((index) => [usual, usual, usual, index])

    expect(firsts(order, upstreams)).toEqual(trials)
  })
})
