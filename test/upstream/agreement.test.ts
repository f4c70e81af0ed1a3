import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { gatherWords, ranked } from '../../src/upstream/agreement.js'
import { UpstreamError } from '../../src/upstream/errors.js'
import { Health } from '../../src/upstream/health.js'
import { Upstream } from '../../src/upstream/upstream.js'
import { clientOf, closeAll, REPOSITORY, Watch } from '../helpers/upstream.js'

const A = digestOf(Buffer.from('a'))
const B = digestOf(Buffer.from('b'))

let watch: Watch
let answers: Map<string, { say: (digest: Digest | undefined) => void; fail: (error: unknown) => void }>
let voters: Upstream[]
beforeEach(() => {
  vi.useFakeTimers()
  watch = new Watch()
  answers = new Map()
  voters = ['m1', 'm2', 'm3'].map((name) => {
    const client = clientOf('http://127.0.0.1:1', { name, role: 'mirror' }, { watch })
    const { events, log } = watch
    const health = new Health({
      registry: 'docker.io',
      upstream: name,
      probe: async () => {},
      events,
      log,
      now: Date.now,
    })
    return new Upstream({ client, health, log, now: Date.now })
  })
})
afterEach(async () => {
  vi.useRealTimers()
  await closeAll()
})

const late: string[] = []
function gather(signal = new AbortController().signal) {
  late.length = 0
  const gathered = gatherWords({
    repository: REPOSITORY,
    voters,
    signal,
    ask: ({ name }, either) =>
      new Promise((say, fail) => {
        answers.set(name, { say, fail })
        either.addEventListener('abort', () => {
          late.push(name)
          fail(either.reason)
        })
      }),
  })
  const seen = { done: false }
  gathered.then(
    () => {
      seen.done = true
    },
    () => {},
  )
  return { gathered, seen }
}
const settle = () => vi.advanceTimersByTimeAsync(0)

test('all are asked at once, and two of three that agree end it', async () => {
  const { gathered } = gather()
  const asked = [...answers.keys()]
  answers.get('m3')?.say(B)
  answers.get('m2')?.say(B)

  expect(asked).toEqual(['m1', 'm2', 'm3'])
  expect(await gathered).toEqual([
    { upstream: 'm2', digest: B },
    { upstream: 'm3', digest: B },
  ])
  expect(late).toContain('m1')
})

test('while nobody has spoken it waits; then for a second from the start and no longer', async () => {
  const { gathered, seen } = gather()
  answers.get('m2')?.say(A)
  await vi.advanceTimersByTimeAsync(999)
  const before = seen.done
  await vi.advanceTimersByTimeAsync(1)

  expect(before).toBe(false)
  expect(await gathered).toEqual([{ upstream: 'm2', digest: A }])
})

test('the first word after that second is enough', async () => {
  const { gathered, seen } = gather()
  await vi.advanceTimersByTimeAsync(3000)
  const before = seen.done
  answers.get('m3')?.say(B)

  expect(before).toBe(false)
  expect(await gathered).toEqual([{ upstream: 'm3', digest: B }])
})

test('failures are noted as the upstream’s, and when all have failed there is no word', async () => {
  const { gathered } = gather()
  answers.get('m1')?.fail(new UpstreamError('down', 'refused', { unreached: true }))
  answers.get('m2')?.fail(new UpstreamError('not-found', 'answered 404'))
  answers.get('m3')?.say(undefined)

  expect(await gathered).toEqual([])
  expect(voters.map(({ health }) => health.state)).toEqual(['open', 'up', 'up'])
})

test('whoever is let go is none the worse, and the end of the budget is thrown', async () => {
  const budget = new AbortController()
  const { gathered } = gather(budget.signal)
  await settle()
  budget.abort(new Error('time is up'))

  await expect(gathered).rejects.toThrow('time is up')
  expect(voters.map(({ health }) => health.state)).toEqual(['up', 'up', 'up'])
})

test.each([
  [
    [A, B, B],
    [B, A],
  ],
  [
    [A, B],
    [A, B],
  ],
  [
    [B, A, A, B],
    [B, A],
  ],
  [[], []],
])('case %#: most agree on the first, of equals it is the one that was named first', (digests, order) => {
  expect(ranked(digests.map((digest, at) => ({ upstream: `m${at}`, digest })))).toEqual(order)
})
