import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { MIB } from './content.js'
import type { Figures } from './results.js'
import { type Server, type ServerName, startEntrepot, startRegistry } from './servers.js'
import { REPOSITORY, type Shape, ShapedUpstreams } from './shaped-upstreams.js'
import type { Bench, Case, Stage } from './stage.js'

const LAYER = 64 * MIB
const MIRROR: Shape = { bytesPerSecond: 5_000_000, ttfbMs: 30 }
const FOUR = [MIRROR, MIRROR, MIRROR, MIRROR]
const UNEQUAL = [MIRROR, MIRROR, MIRROR, { ...MIRROR, bytesPerSecond: 1_000_000 }]
const UNEQUAL_SUM = 16_000_000

/** What several slow upstreams do together: the same content at each, each shaped connection by connection. */
export const mirrors: Stage = {
  group: 'mirrors',
  share: 70,
  rounds: { full: 2, quick: 1 },
  async open(bench) {
    const upstreams = await ShapedUpstreams.start({ shapes: FOUR, images: 1, layerBytes: LAYER })
    const slow = new SlowMirrors(bench, upstreams)
    const line = (row: string, shape: Shape, figure: (seconds: number) => number): Case => ({
      rows: [row],
      // The other's figure is the line's own, and so would be that of any that knows one upstream: it takes long, and does not move.
      servers: ['entrepot', 'proxy'],
      rounds: 1,
      measure: async (name) => ({ [row]: figure(await slow.seconds({ name, shapes: [shape, shape, shape, shape] })) }),
    })
    const cases: Case[] = [
      line('line-8', { bytesPerSecond: 8_000_000, ttfbMs: 40 }, (seconds) => LAYER / MIB / seconds),
      { ...line('line-4', { bytesPerSecond: 4_000_000, ttfbMs: 50 }, (seconds) => seconds), long: true },
      {
        long: true,
        rows: ['mirrors-2', 'mirrors-4', 'mirrors-4x4', 'mirrors-unequal', 'mirrors-bytes'],
        servers: ['entrepot'],
        measure: () => ratios(slow),
      },
      { rows: ['hedge'], servers: ['entrepot'], measure: () => hedge(bench) },
    ]
    return { cases, close: () => upstreams.stop() }
  },
}

interface Pull {
  name: ServerName
  shapes: readonly Shape[]
  /** Connections to each; default: the server's own. */
  perUpstream?: number
}

/** Cold pulls of one layer from as many of the four as there are shapes. */
class SlowMirrors {
  readonly #bench: Bench
  readonly #upstreams: ShapedUpstreams
  /** Of all upstreams over the layer's, of each pull. */
  shares: number[] = []

  constructor(bench: Bench, upstreams: ShapedUpstreams) {
    this.#bench = bench
    this.#upstreams = upstreams
  }

  /** How long the layer takes when its manifest is there; its digest is checked. */
  async seconds({ name, shapes, perUpstream }: Pull): Promise<number> {
    const { urls, images } = this.#upstreams
    for (const [n, shape] of shapes.entries()) await this.#upstreams.reshape(n, shape)
    const options = { name, upstreams: urls.slice(0, shapes.length), perUpstream }
    return withServer(this.#bench, options, async ({ port }) => {
      await fetchWhole(port, 'manifests/v0')
      const { layer } = images[0]!
      const before = await this.#upstreams.bytesSent()
      const path = `/v2/${REPOSITORY}/blobs/${layer}`
      const target = { path, bytes: LAYER, sha256: layer.replace('sha256:', '') }
      const { seconds } = await this.#bench.load.get(port, {
        targets: [target],
        connections: 1,
        requests: 1,
        check: true,
      })
      const sent = (await this.#upstreams.bytesSent()).reduce((sum, bytes, n) => sum + bytes - before[n]!, 0)
      if (name === 'entrepot') this.shares.push(sent / LAYER)
      return seconds
    })
  }
}

/** How many times as quick as one mirror over one connection; of the unequal ones, their share of the sum. */
async function ratios(slow: SlowMirrors): Promise<Figures> {
  const seconds = (shapes: Shape[], perUpstream: number) => slow.seconds({ name: 'entrepot', shapes, perUpstream })
  slow.shares = []
  const one = await seconds([MIRROR], 1)
  return {
    'mirrors-2': one / (await seconds([MIRROR, MIRROR], 1)),
    'mirrors-4': one / (await seconds(FOUR, 1)),
    'mirrors-4x4': one / (await seconds(FOUR, 4)),
    'mirrors-unequal': LAYER / (await seconds(UNEQUAL, 1)) / UNEQUAL_SUM,
    'mirrors-bytes': Math.max(...slow.shares),
  }
}

/** With one of two mirrors stalled after connect, manifests that are each asked for once: how much later than without, of p95. */
async function hedge(bench: Bench): Promise<Figures> {
  const usual: Shape = { ttfbMs: 30 }
  const healthy = await manifestsP95(bench, [usual, usual])
  return { hedge: (await manifestsP95(bench, [{ fault: { kind: 'hang' } }, usual])) - healthy }
}

async function manifestsP95(bench: Bench, shapes: Shape[]): Promise<number> {
  const upstreams = await ShapedUpstreams.start({ shapes, images: 50, layerBytes: 1000 })
  try {
    return await withServer(bench, { name: 'entrepot', upstreams: upstreams.urls }, async ({ port }) => {
      const times: number[] = []
      for (const { manifest } of upstreams.images) {
        const beganAt = performance.now()
        await fetchWhole(port, `manifests/${manifest}`)
        times.push(performance.now() - beganAt)
      }
      return times.sort((a, b) => a - b)[Math.floor(times.length * 0.95)]!
    })
  } finally {
    await upstreams.stop()
  }
}

interface Over {
  name: ServerName
  upstreams: readonly string[]
  perUpstream?: number | undefined
}

/** A server with an empty cache; those that know one upstream have the first. */
async function withServer<Result>(
  bench: Bench,
  { name, upstreams, perUpstream }: Over,
  use: (server: Server) => Promise<Result>,
) {
  const folder = join(bench.folder, 'mirrors', name)
  const program = name === 'proxy' ? 'docker-registry' : bench.programs.distribution
  const settings = perUpstream ? { upstream: { segments: { perUpstream } } } : {}
  const server = await (name === 'entrepot'
    ? startEntrepot({ folder, upstreams, settings, node: bench.node })
    : startRegistry({ folder, program, remote: upstreams[0]! }))
  try {
    return await use(server)
  } finally {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** @throws unless it is a 200 that came whole */
async function fetchWhole(port: number, path: string): Promise<void> {
  const headers = { accept: `${MEDIA_TYPES.ociManifest}, ${MEDIA_TYPES.dockerManifest}` }
  const answer = await fetch(`http://127.0.0.1:${port}/v2/${REPOSITORY}/${path}`, { headers })
  await answer.arrayBuffer()
  if (answer.status !== 200) throw new Error(`${path} was answered ${answer.status}`)
}
