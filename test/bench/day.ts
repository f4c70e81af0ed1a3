import { setTimeout as sleep } from 'node:timers/promises'
import { BenchMirror, fetchWhole, percentile } from './bench-mirror.js'
import { REPOSITORY, type Shape, ShapedUpstreams } from './shaped-upstreams.js'

/**
 * `npm run bench:day`: a day of a public mirror's life in minutes. Four clients pull images all the time, most of them often and
 * some seldom, from a cache that holds a third of them, while the three mirrors and the origin behind it flap,
 * limit, stall, die and come back. Prints for each hour how many pulls failed, p50, p99, and requests to each upstream.
 */
const MIB = 1024 * 1024
const HOUR_MS = 15_000
const CLIENTS = 4
const IMAGES = 60
const GOOD: Shape = { bytesPerSecond: 20_000_000, ttfbMs: 20 }
const SLOW: Shape = { bytesPerSecond: 300_000, ttfbMs: 200 }
const DEAD: Shape = { dead: true }
const failing = (status: number, headers: Record<string, string> = {}): Shape => ({
  fault: { kind: 'status', status, headers },
})
const LIMITED = failing(429, { 'retry-after': '3' })
const NAMES = ['mirror a', 'mirror b', 'mirror c', 'origin']

/** What each of the four is like in that hour. */
const DAY: [string, (Shape | 'flapping')[]][] = [
  ['all is well', [GOOD, GOOD, GOOD, GOOD]],
  ['a flaps', ['flapping', GOOD, GOOD, GOOD]],
  ['a flaps, b limits', ['flapping', LIMITED, GOOD, GOOD]],
  ['b limits, c dies', [GOOD, LIMITED, DEAD, GOOD]],
  ['the origin is blocked', [GOOD, GOOD, GOOD, { fault: { kind: 'hang' } }]],
  ['only c, slow', [DEAD, failing(503), SLOW, { fault: { kind: 'hang' } }]],
  [
    'a login page at a, b stalls in blobs',
    [{ fault: { kind: 'html' } }, { fault: { kind: 'stall', after: 1000 } }, GOOD, GOOD],
  ],
  [
    'a and b cut, the origin limits',
    [{ fault: { kind: 'cut', after: MIB } }, { fault: { kind: 'cut', after: 1000 } }, GOOD, LIMITED],
  ],
  ['nobody answers', [DEAD, DEAD, DEAD, DEAD]],
  ['all are back', [GOOD, GOOD, GOOD, GOOD]],
]

interface Hour {
  times: number[]
  failed: number
}

async function main(): Promise<void> {
  const shapes = NAMES.map(() => GOOD)
  const upstreams = await ShapedUpstreams.start({ shapes, images: IMAGES, layerBytes: 2 * MIB })
  const mirror = await BenchMirror.start(upstreams.urls, {
    registry: { tags: { ttl: '5s' } },
    storage: { maxSize: `${(IMAGES * 2) / 3}MiB` },
  })
  try {
    for (const [name, states] of DAY) {
      const before = await upstreams.requests()
      const { times, failed } = await hour(upstreams, mirror, states)
      const requests = (await upstreams.requests()).map((count, n) => `${NAMES[n]} ${count - before[n]!}`)
      console.log(
        `${name}: ${times.length + failed} pulls, ${failed} failed, p50 ${percentile(times, 0.5).toFixed(0)} ms, ` +
          `p99 ${percentile(times, 0.99).toFixed(0)} ms; requests: ${requests.join(', ')}`,
      )
    }
  } finally {
    await mirror.stop()
    await upstreams.stop()
  }
}

async function hour(upstreams: ShapedUpstreams, mirror: BenchMirror, states: (Shape | 'flapping')[]): Promise<Hour> {
  for (const [n, state] of states.entries()) if (state !== 'flapping') await upstreams.reshape(n, state)
  const endsAt = performance.now() + HOUR_MS
  const result: Hour = { times: [], failed: 0 }
  const clients = Array.from({ length: CLIENTS }, (_, n) => client(mirror, upstreams, n, endsAt, result))
  for (let up = false; performance.now() < endsAt; up = !up) {
    for (const [n, state] of states.entries()) if (state === 'flapping') await upstreams.reshape(n, up ? GOOD : DEAD)
    await sleep(Math.min(1000, Math.max(0, endsAt - performance.now())))
  }
  await Promise.all(clients)
  return result
}

/** Pulls one image after the other, the same in every run. */
async function client(
  mirror: BenchMirror,
  { images }: ShapedUpstreams,
  n: number,
  endsAt: number,
  result: Hour,
): Promise<void> {
  for (let turn = n * 17; performance.now() < endsAt; turn++) {
    // Half of the pulls are of a tenth of the images.
    const at = turn % 2 === 0 ? (turn * 7) % (IMAGES / 10) : (turn * 13) % IMAGES
    const beganAt = performance.now()
    try {
      await fetchWhole(`${mirror.url}/v2/${REPOSITORY}/manifests/v${at}`)
      const digest = await fetchWhole(`${mirror.url}/v2/${REPOSITORY}/blobs/${images[at]!.layer}`)
      if (digest !== images[at]!.layer) throw new Error('wrong bytes')
      result.times.push(performance.now() - beganAt)
    } catch {
      result.failed++
      await sleep(200)
    }
    await sleep(50)
  }
}

await main()
