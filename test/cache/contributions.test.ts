import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { Contributions, liarsAmong } from '../../src/cache/contributions.js'

const held = (bytes: Buffer) => ({
  readableTo: (position: number) => Math.max(position, bytes.length),
  read: async (buffer: Uint8Array, position: number) => bytes.copy(buffer, 0, position),
})

describe('Contributions', () => {
  test('what one gave in a row is one span, whoever gave something between', async () => {
    const contributions = new Contributions()
    for (let at = 0; at < 1000; at += 10) {
      contributions.add('a', at, 10)
      contributions.add('b', 5000 + at, 10)
    }

    expect(contributions.upstreams).toEqual(['a', 'b'])
    expect(await contributions.testimonies(held(randomBytes(6000)))).toMatchObject([
      { upstream: 'a', from: 0, to: 1000 },
      { upstream: 'b', from: 5000, to: 6000 },
    ])
  })

  test('held against the truth, those whose bytes were others are the liars', async () => {
    const truth = randomBytes(3000)
    const got = Buffer.from(truth)
    got[1500]! ^= 1
    const contributions = new Contributions()
    contributions.add('honest', 0, 1000)
    contributions.add('liar', 1000, 1000)
    contributions.add('honest', 2000, 1000)
    contributions.add('silent', 3000, 0)

    expect(await liarsAmong(await contributions.testimonies(held(got)), held(truth))).toEqual(['liar'])
  })

  test('who gave more than there is lied', async () => {
    const got = randomBytes(3000)
    const contributions = new Contributions()
    contributions.add('honest', 0, 1000)
    contributions.add('long', 1000, 1500)
    contributions.add('longer', 2500, 500)

    const liars = await liarsAmong(await contributions.testimonies(held(got)), held(got.subarray(0, 2000)))

    expect(liars).toEqual(['long', 'longer'])
  })
})
