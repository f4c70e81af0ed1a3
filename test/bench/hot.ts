import { join } from 'node:path'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { run } from '../helpers/process.js'
import { ALL, startCached } from './cached-servers.js'
import { Content, GIB, type Image, type Item, MIB } from './content.js'
import type { GetJob, Target } from './load.js'
import { cpuSeconds } from './process-tree.js'
import type { Figures } from './results.js'
import type { Server, ServerName } from './servers.js'
import type { Bench, Case, Stage } from './stage.js'

const ACCEPT = MEDIA_TYPES.ociManifest

interface HotContent {
  large: Item[]
  mebibytes: Item[]
  small: Item[]
  huge: Item
  image: Image
}

interface Opened {
  bench: Bench
  content: HotContent
  servers: Map<ServerName, Server>
}

/**
 * Everything is cached: each server was asked for all of it before, twice, with the digest of every answer checked. In what is
 * timed status and length of every answer are checked.
 */
export const hot: Stage = {
  group: 'hot',
  share: 190,
  rounds: { full: 5, quick: 3 },
  async open(bench) {
    const folder = join(bench.folder, 'hot')
    const files = new Content(join(folder, 'content'))
    const content = await makeContent(files)
    const { image, large, mebibytes, small, huge } = content
    const items = [image.byTag, image.byDigest, ...image.blobs, ...large, ...mebibytes, ...small, huge]
    const { servers, stop } = await startCached({ bench, folder, files, items })
    const opened = { bench, content, servers }
    await warm(opened)
    await proveLoad(opened)
    return { cases: casesOf(opened), close: stop }
  },
}

async function makeContent(files: Content): Promise<HotContent> {
  const [large, mebibytes] = [await files.blobs(2, 64 * MIB), await files.blobs(16, MIB)]
  const small = await files.blobs(64, 4096)
  // Of a usual length: 2 KiB.
  const image = await files.image('latest', small.slice(0, 9))
  return { large, mebibytes, small, huge: await files.blob(512 * MIB), image }
}

/** JavaScript is slow at first. */
async function warm({ bench, content, servers }: Opened): Promise<void> {
  const { port } = servers.get('entrepot')!
  for (const [row, job] of Object.entries(jobsOf(content))) {
    if (bench.wantsRow(row)) await bench.load.get(port, { ...job, seconds: 0.5 })
  }
}

/** What is downloaded, by the row that it is for. */
function jobsOf({ large, mebibytes, small, huge, image }: HotContent) {
  const manifest = (item: Item, connections: number): GetJob => ({ targets: [item], connections, accept: ACCEPT })
  return {
    'hot-64m': { targets: large, connections: 8, threads: 2 },
    'hot-1m': { targets: mebibytes, connections: 8, threads: 2 },
    'hot-1m-c32': { targets: mebibytes, connections: 32, threads: 2 },
    'hot-4k': { targets: small, connections: 64 },
    'hot-ranges': { targets: rangesOf(huge), connections: 8, threads: 2 },
    'hot-digest': manifest(image.byDigest, 64),
    'hot-digest-c32': manifest(image.byDigest, 32),
    'hot-tag': manifest(image.byTag, 64),
    'hot-tag-c32': manifest(image.byTag, 32),
    'hot-head': { ...manifest(image.byDigest, 64), method: 'HEAD' },
  } satisfies Record<string, GetJob>
}

/** All of it in pieces, not in order. */
function rangesOf({ path, bytes }: Item): Target[] {
  const count = bytes / MIB
  return Array.from({ length: count }, (_, n) => {
    const from = ((n * 197) % count) * MIB
    return { path, bytes: MIB, range: `bytes=${from}-${from + MIB - 1}` }
  })
}

function casesOf(opened: Opened): Case[] {
  const jobs = jobsOf(opened.content)
  const seconds = opened.bench.quick ? 0.25 : 0.4
  const requests = (row: keyof typeof jobs, p99?: string): Case => ({
    rows: p99 ? [row, p99] : [row],
    servers: ALL,
    async measure(name) {
      const found = await opened.bench.load.get(opened.servers.get(name)!.port, { ...jobs[row], seconds })
      return { [row]: found.requests / found.seconds, ...(p99 && { [p99]: found.whole.p99 }) }
    },
  })
  const large: Case = {
    rows: ['hot-64m', 'hot-64m-cpu'],
    servers: ALL,
    async measure(name) {
      const { port, pid } = opened.servers.get(name)!
      const before = await cpuSeconds(pid)
      const found = await opened.bench.load.get(port, { ...jobs['hot-64m'], seconds: seconds + 0.4 })
      const gibibytes = found.bytes / GIB
      const used = (await cpuSeconds(pid)) - before
      return { 'hot-64m': gibibytes / found.seconds, 'hot-64m-cpu': used / gibibytes }
    },
  }
  return [
    large,
    requests('hot-1m'),
    requests('hot-1m-c32'),
    requests('hot-4k'),
    requests('hot-ranges'),
    requests('hot-digest'),
    requests('hot-digest-c32', 'hot-digest-p99'),
    requests('hot-tag', 'hot-tag-p99'),
    requests('hot-tag-c32', 'hot-tag-c32-p99'),
    requests('hot-head'),
    { rows: ['mixed', 'mixed-p99'], servers: ALL, measure: (name) => mixed(opened, name) },
  ]
}

/** Large downloads, and manifests beside them. */
async function mixed({ bench, content, servers }: Opened, name: ServerName): Promise<Figures> {
  const { port } = servers.get(name)!
  const seconds = bench.quick ? 0.6 : 1
  const [downloads, manifests] = await Promise.all([
    bench.load.get(port, { targets: content.large, connections: 8, threads: 2, seconds }),
    bench.load.get(port, { targets: [content.image.byTag], connections: 4, seconds, accept: ACCEPT }),
  ])
  return { mixed: downloads.bytes / GIB / downloads.seconds, 'mixed-p99': manifests.whole.p99 }
}

/**
 * That the load generator is not what is measured: its own share of the processors against nginx, and what nginx gives to a
 * second one beside it, or to wrk.
 */
async function proveLoad({ bench, content, servers }: Opened): Promise<void> {
  const nginx = servers.get('nginx')
  if (!nginx) return
  const jobs = jobsOf(content)
  for (const row of ['hot-64m', 'hot-1m', 'hot-4k', 'hot-tag'] as const) {
    if (!bench.wantsRow(row)) continue
    const job = { ...jobs[row], seconds: 0.5 }
    const one = await bench.load.get(nginx.port, job)
    const half = { ...job, connections: job.connections / 2 }
    const two = await Promise.all([bench.load.get(nginx.port, half), bench.load.get(nginx.port, half)])
    const rate = (found: { requests: number; seconds: number }) => found.requests / found.seconds
    const both = two.reduce((sum, each) => sum + rate(each), 0)
    const wrk = row === 'hot-tag' ? `; wrk ${(await wrkRate(nginx, content.image.byTag)).toFixed(0)}` : ''
    const cores = (one.cpuSeconds / one.seconds).toFixed(2)
    bench.note(
      `load generator, ${row} of nginx: ${rate(one).toFixed(0)} req/s with ${cores} cores for itself; two of them ${both.toFixed(0)}${wrk}`,
    )
  }
}

async function wrkRate({ port }: Server, { path }: Item): Promise<number> {
  const { stdout } = await run('wrk', ['-t1', '-c64', '-d1s', `http://127.0.0.1:${port}${path}`])
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
}
