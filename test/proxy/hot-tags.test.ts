import { pino } from 'pino'
import { beforeEach, expect, test } from 'vitest'
import { parseRepository, type Repository, type Tag } from '../../src/oci/reference.js'
import { type Freshness, HotTags } from '../../src/proxy/hot-tags.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const START = Date.UTC(2030, 0, 1)
const repository = parseRepository('library/app')
const latest = 'latest' as Tag

let now: number
let ttlMs: number
let random: number
let originReachable: boolean
/** When each tag was last checked. */
let checkedAt: Map<string, number>
let checked: string[]
let check: (repository: Repository, tag: Tag) => Promise<void>
let tags: HotTags
beforeEach(() => {
  now = START
  ttlMs = 10 * MINUTE
  random = 0
  originReachable = true
  checkedAt = new Map()
  checked = []
  check = async (_repository, tag) => void checkedAt.set(tag, now)
  tags = new HotTags({
    hotAfter: 3,
    checksPerMinute: 5,
    freshness: async (_repository, tag): Promise<Freshness | undefined> => {
      const at = checkedAt.get(tag)
      return at === undefined ? undefined : { checkedAt: at, freshUntil: at + ttlMs }
    },
    check: (name, tag) => {
      checked.push(tag)
      return check(name, tag)
    },
    originReachable: () => originReachable,
    log: pino({ level: 'silent' }),
    now: () => now,
    random: () => random,
  })
})

function pull(times: number, tag: Tag = latest) {
  checkedAt.set(tag, now)
  for (let time = 0; time < times; time++) tags.asked(repository, tag)
}

async function after(ms: number) {
  now += ms
  await tags.recheck()
  return checked
}

test('one that was asked for three times is checked when the last part of its TTL begins, once', async () => {
  pull(3)

  expect(await after(8.9 * MINUTE)).toEqual([])
  expect(await after(0.1 * MINUTE)).toEqual(['latest'])
  expect(await after(MINUTE)).toEqual(['latest'])
  expect(await after(8 * MINUTE)).toEqual(['latest', 'latest'])
})

test('one that was asked for twice is not', async () => {
  pull(2)

  expect(await after(20 * MINUTE)).toEqual([])
})

test('one that was asked for three times over more than a day is not', async () => {
  pull(2)
  now += 23 * HOUR
  pull(1)

  expect(await after(2 * HOUR)).toEqual([])
})

test('a pull that has checked it puts the check off', async () => {
  pull(3)
  now += 5 * MINUTE
  checkedAt.set(latest, now)

  expect(await after(5 * MINUTE)).toEqual([])
  expect(await after(4 * MINUTE)).toEqual(['latest'])
})

test('not all of them are checked the same time before the end', async () => {
  random = 1
  pull(3)

  expect(await after(8 * MINUTE)).toEqual(['latest'])
})

test.each([0, 59_999])('with a TTL of %i ms none is', async (ms) => {
  ttlMs = ms
  pull(3)

  expect(await after(HOUR)).toEqual([])
})

test('while no origin can be reached none is, and then all that are due', async () => {
  pull(3)
  originReachable = false
  const without = [...(await after(9 * MINUTE))]
  originReachable = true

  expect(without).toEqual([])
  expect(await after(0)).toEqual(['latest'])
})

test('a check that fails is tried again a TTL later', async () => {
  check = () => Promise.reject(new Error('no upstream could be asked'))
  pull(3)

  expect(await after(9 * MINUTE)).toEqual(['latest'])
  expect(await after(8 * MINUTE)).toEqual(['latest'])
  expect(await after(MINUTE)).toEqual(['latest', 'latest'])
})

test('one that is being checked is not checked a second time', async () => {
  check = () => new Promise(() => {})
  pull(3)

  await after(9 * MINUTE)

  expect(await after(2 * MINUTE)).toEqual(['latest'])
})

test('so many are checked within a minute, the longest due first', async () => {
  const names = Array.from({ length: 7 }, (_, at) => `v${at}` as Tag)
  for (const name of names.toReversed()) {
    pull(3, name)
    now += 1000
  }

  const first = [...(await after(10 * MINUTE))]
  const within = [...(await after(59_000))]
  const then = await after(1000)

  expect(first).toEqual(['v6', 'v5', 'v4', 'v3', 'v2'])
  expect(within).toEqual(first)
  expect(then).toEqual(['v6', 'v5', 'v4', 'v3', 'v2', 'v1', 'v0'])
})
