import { randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

const BYTES = 100_000
const PATIENT = { connect: '5s', firstByte: '5s', idle: '5s' }

/** Two mirrors before an origin, with the same blobs, and the product in front of them. */
async function start(blobs: number, upstream: Record<string, unknown> = {}, bytes = BYTES) {
  const [near, far, hub] = await Promise.all([startUpstream(), startUpstream(), startUpstream()])
  const content = Array.from({ length: blobs }, () => randomBytes(bytes))
  const digests = content.map((each) => [near, far, hub].map((where) => where.addBlob(each))[0] as string)
  const registries = {
    'docker.io': registry([
      { name: 'near', url: near.url },
      { name: 'far', url: far.url },
      { name: 'hub', url: hub.url, role: 'origin' },
    ]),
  }
  const mirror = await startMirror({ registries, settings: { upstream: { timeouts: PATIENT, ...upstream } } })
  const pull = async (digest: string) => {
    const got = await mirror.blob('library/app', digest)
    expect(got).toMatchObject({ status: 200, digest, bytes })
    return got.headers['x-cache-source']
  }
  return { near, far, hub, mirror, digests, pull }
}

const gets = ({ requests }: BuiltInUpstream) => requests.map(({ path }) => path)

test('a quick mirror comes to be preferred to a slow one, every blob is fetched once, and the slow one is not dead', async () => {
  const { near, far, hub, mirror, digests, pull } = await start(56)
  near.bytesPerSecond = 500_000
  for (let at = 0; at < 48; at += 6) await Promise.all(digests.slice(at, at + 6).map(pull))

  const sources = await Promise.all(digests.slice(48).map(pull))

  expect(sources).not.toContain('near')
  const asked = [near, far, hub].flatMap(gets)
  expect([asked.length, new Set(asked).size]).toEqual([56, 56])
  expect([near, far, hub].reduce((sum, { bytesSent }) => sum + bytesSent, 0)).toBe(56 * BYTES)
  const { upstreams } = await mirror.stats()
  expect(upstreams.map(({ state, errors }) => [state, errors])).toEqual(Array(3).fill(['up', 0]))
  expect(upstreams[0]?.bytesPerSecond).toBeLessThan(600_000)
})

test('the configured order stands while all are quick', async () => {
  const { near, far, hub, digests, pull } = await start(40)
  for (const digest of digests) await pull(digest)

  expect([near, far, hub].map(({ requests }) => requests.length)).toEqual([40, 0, 0])
})

test('a blob that trickles is finished elsewhere, from where it was, in one answer to the client', async () => {
  const { near, far, hub, mirror, digests, pull } = await start(1)
  near.bytesPerSecond = 8000

  await Promise.all(digests.map(pull))

  expect(near.bytesSent).toBeLessThan(BYTES)
  expect(far.requests).toMatchObject([{ range: expect.stringMatching(/^bytes=[1-9]\d*-$/), status: 206 }])
  expect(hub.requests).toEqual([])
  expect(far.bytesSent + near.bytesSent).toBeLessThan(BYTES * 1.1)
  const { upstreams } = await mirror.stats()
  expect(upstreams.slice(0, 2)).toMatchObject([
    { state: 'up', errors: 1 },
    { state: 'up', errors: 0 },
  ])
})

test('no upstream has more connections than it is allowed, and every client gets its blob', async () => {
  const { near, far, hub, digests, pull } = await start(24, { connections: 4 })
  const upstreams = [near, far, hub]
  for (const upstream of upstreams) upstream.bytesPerSecond = 500_000
  let most = 0
  const watch = setInterval(async () => {
    const open = await Promise.all(upstreams.map((upstream) => upstream.connections()))
    most = Math.max(most, ...open)
  }, 5)

  await Promise.all(digests.map(pull)).finally(() => clearInterval(watch))

  expect(most).toBeGreaterThan(0)
  expect(most).toBeLessThanOrEqual(4)
  // Waiting for its turn, which takes longer than a hedge would wait, makes nobody ask elsewhere.
  const asked = upstreams.flatMap(gets)
  expect([asked.length, new Set(asked).size]).toEqual([24, 24])
})
