import { BenchMirror, fetchWhole, percentile } from './bench-mirror.js'
import { REPOSITORY, type Shape, ShapedUpstreams } from './shaped-upstreams.js'

/**
 * `npm run bench`: what several slow upstreams together do, as ratios to one of them in the same run, each case in turn,
 * three times, medians. It sends traffic to loopback alone, and takes about two minutes.
 */
const MIB = 1024 * 1024
const LAYER = 64 * MIB
const RUNS = 3
const FAST = 5_000_000
const MIRROR: Shape = { bytesPerSecond: FAST, ttfbMs: 30 }

interface Case {
  name: string
  shapes: Shape[]
  perUpstream: number
  /** At least so many times as quick as one mirror over one connection. */
  bound?: number
}

const CASES: Case[] = [
  { name: '1 mirror x 1 connection', shapes: [MIRROR], perUpstream: 1 },
  { name: '1 mirror x 4', shapes: [MIRROR], perUpstream: 4 },
  { name: '2 mirrors x 1', shapes: [MIRROR, MIRROR], perUpstream: 1, bound: 1.7 },
  { name: '4 mirrors x 1', shapes: [MIRROR, MIRROR, MIRROR, MIRROR], perUpstream: 1, bound: 3.2 },
  { name: '4 mirrors x 4', shapes: [MIRROR, MIRROR, MIRROR, MIRROR], perUpstream: 4, bound: 9 },
  {
    name: '5 + 5 + 5 + 1 MB/s x 1',
    shapes: [MIRROR, MIRROR, MIRROR, { ...MIRROR, bytesPerSecond: 1_000_000 }],
    perUpstream: 1,
    bound: (0.8 * 16) / 5,
  },
]

async function main(): Promise<boolean> {
  const times = new Map<Case, number[]>(CASES.map((each) => [each, []]))
  const bytes = new Map<Case, number[]>(CASES.map((each) => [each, []]))
  for (let run = 0; run < RUNS; run++) {
    for (const each of CASES) {
      const { seconds, upstreamBytes } = await blobOf(each)
      times.get(each)!.push(seconds)
      bytes.get(each)!.push(upstreamBytes / LAYER)
    }
  }
  const one = percentile(times.get(CASES[0]!)!, 0.5)
  let good = true
  for (const [each, seconds] of times) {
    const ratio = one / percentile(seconds, 0.5)
    good &&= ratio >= (each.bound ?? 0)
    const bound = each.bound === undefined ? '' : `, at least ${each.bound.toFixed(2)}`
    console.log(
      `${each.name}: ${percentile(seconds, 0.5).toFixed(2)} s, ${ratio.toFixed(2)} x one${bound}; ` +
        `upstream bytes ${Math.max(...bytes.get(each)!).toFixed(3)} x the blob at most`,
    )
  }
  return (await manifests()) && good
}

/** Seconds for one cold blob of 64 MiB. */
async function blobOf({ shapes, perUpstream }: Case): Promise<{ seconds: number; upstreamBytes: number }> {
  const upstreams = await ShapedUpstreams.start({ shapes, images: 1, layerBytes: LAYER })
  const mirror = await BenchMirror.start(upstreams.urls, { upstream: { segments: { perUpstream } } })
  try {
    const [image] = upstreams.images
    await fetchWhole(`${mirror.url}/v2/${REPOSITORY}/manifests/v0`)
    const before = await upstreams.bytesSent()
    const beganAt = performance.now()
    const digest = await fetchWhole(`${mirror.url}/v2/${REPOSITORY}/blobs/${image!.layer}`)
    const seconds = (performance.now() - beganAt) / 1000
    if (digest !== image!.layer) throw new Error('wrong bytes')
    const sent = await upstreams.bytesSent()
    return { seconds, upstreamBytes: sent.reduce((sum, count, n) => sum + count - before[n]!, 0) }
  } finally {
    await mirror.stop()
    await upstreams.stop()
  }
}

/** With one of two mirrors stalled after connect: manifests by digest, each asked once; p95 against the same without it. */
async function manifests(): Promise<boolean> {
  const usual = { ttfbMs: 30 }
  const healthy = await percentile95([usual, usual])
  const stalled = await percentile95([{ fault: { kind: 'hang' } }, usual])
  const good = stalled < healthy + HEDGE_MS
  console.log(
    `manifests: p95 ${healthy.toFixed(0)} ms, with one mirror stalled after connect ${stalled.toFixed(0)} ms, less than ${HEDGE_MS} ms more`,
  )
  return good
}

/** The least time after which another upstream is asked beside one that is late (upstream/hedge.ts). */
const HEDGE_MS = 250

async function percentile95(shapes: Shape[]): Promise<number> {
  const upstreams = await ShapedUpstreams.start({ shapes, images: 100, layerBytes: 1000 })
  const mirror = await BenchMirror.start(upstreams.urls)
  try {
    const times: number[] = []
    for (const { manifest } of upstreams.images) {
      const beganAt = performance.now()
      await fetchWhole(`${mirror.url}/v2/${REPOSITORY}/manifests/${manifest}`)
      times.push(performance.now() - beganAt)
    }
    return percentile(times, 0.95)
  } finally {
    await mirror.stop()
    await upstreams.stop()
  }
}

process.exitCode = (await main()) ? 0 : 1
