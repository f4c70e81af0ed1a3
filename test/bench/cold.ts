import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Content, GIB, type Item, MIB } from './content.js'
import type { GetJob, GetResult } from './load.js'
import { cpuSeconds, whenIdle } from './process-tree.js'
import { PROXYING, startProxying } from './proxying.js'
import type { Figures } from './results.js'
import { type Server, type ServerName, StaticNginx } from './servers.js'
import type { Bench, Case, Stage } from './stage.js'

/** Of all connections together, of the upstream that is limited, bytes a second. */
const LIMITED = 25 * MIB

/**
 * Each measurement has a server that was just started and has served a hundred small blobs and 8 MiB, as JavaScript is slow at
 * first; its cache has nothing else. What is timed is checked by status and length; what is in the cache then is checked by digest, once for each server and row.
 */
export const cold: Stage = {
  group: 'cold',
  share: 190,
  rounds: { full: 5, quick: 2 },
  async open(bench) {
    const folder = join(bench.folder, 'cold')
    const content = new Content(join(folder, 'content'))
    const first = [...(await content.blobs(100, 4096)), ...(await content.blobs(2, 4 * MIB))]
    const upstream = await StaticNginx.start({ folder: join(folder, 'upstream'), content, counting: true })
    const cases = await casesOf(new ColdServers({ bench, folder, upstream, first }), content)
    return { cases, close: () => upstream.stop() }
  },
}

interface Timed extends GetResult {
  /** Of the server, until it is idle again. */
  serverSeconds: number
  /** That the upstream has sent, over those of the targets. */
  upstreamShare: number
}

/** Starts servers with empty caches, one at a time. */
class ColdServers {
  readonly bench: Bench
  readonly upstream: StaticNginx
  readonly #folder: string
  readonly #first: Item[]
  readonly #checked = new Set<string>()

  constructor(deps: { bench: Bench; folder: string; upstream: StaticNginx; first: Item[] }) {
    this.bench = deps.bench
    this.upstream = deps.upstream
    this.#folder = deps.folder
    this.#first = deps.first
  }

  /** @param remote default: the upstream itself */
  async with<Result>(name: ServerName, use: (server: Server) => Promise<Result>, remote = this.upstream.url) {
    const folder = join(this.#folder, name)
    const server = await startProxying(this.bench, name, { folder, remote })
    try {
      await this.bench.load.get(server.port, { targets: this.#first, connections: 8, requests: this.#first.length })
      return await use(server)
    } finally {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** A job against a server with an empty cache. */
  timed(name: ServerName, job: GetJob): Promise<Timed> {
    return this.with(name, async (server) => {
      await whenIdle(server.pid)
      const [cpu, sent] = [await cpuSeconds(server.pid), await this.upstream.bytesSent()]
      const found = await this.bench.load.get(server.port, job)
      await whenIdle(server.pid)
      const serverSeconds = (await cpuSeconds(server.pid)) - cpu
      const needed = job.targets.reduce((sum, { bytes }) => sum + bytes, 0)
      const upstreamShare = ((await this.upstream.bytesSent()) - sent) / needed
      await this.check(name, server, job)
      return { ...found, serverSeconds, upstreamShare }
    })
  }

  async check(name: ServerName, server: Server, { targets }: GetJob): Promise<void> {
    const key = `${name} ${targets[0]!.path}`
    if (this.#checked.has(key)) return
    this.#checked.add(key)
    await this.bench.load.get(server.port, {
      targets,
      connections: 2,
      threads: 2,
      requests: targets.length,
      check: true,
    })
  }
}

async function casesOf(servers: ColdServers, content: Content): Promise<Case[]> {
  const all = async (items: Item[], connections: number): Promise<GetJob> => ({
    targets: items,
    connections,
    threads: Math.min(connections, 2),
    requests: items.length,
  })
  const huge = await all([await content.blob(512 * MIB)], 1)
  const large = await all(await content.blobs(8, 64 * MIB), 8)
  const small = await all(await content.blobs(64, MIB), 8)
  const single = await all(await content.blobs(20, MIB), 1)
  const shared = { ...(await all([await content.blob(256 * MIB)], 32)), requests: 32 }
  const one = await content.blob(64 * MIB)
  const rate = (row: string, job: GetJob, rounds?: number): Case => ({
    rows: [row, `${row}-cpu`],
    servers: PROXYING,
    ...(rounds && { rounds }),
    async measure(name) {
      const { bytes, seconds, serverSeconds } = await servers.timed(name, job)
      return { [row]: bytes / MIB / seconds, [`${row}-cpu`]: serverSeconds / (bytes / GIB) }
    },
  })
  return [
    rate('cold-512m', huge),
    rate('cold-8x64m', large),
    rate('cold-64x1m', small),
    { rows: ['cold-ttfb'], servers: PROXYING, rounds: 2, measure: (name) => firstByte(servers, name, single) },
    {
      rows: ['cold-slow'],
      servers: ['entrepot', 'proxy', 'distribution'],
      rounds: 2,
      measure: (name) => slow(servers, name, one),
    },
    { rows: ['cold-32-limited'], servers: ['entrepot'], rounds: 2, measure: () => limited(servers, one) },
    {
      rows: ['cold-32', 'cold-32-bytes'],
      servers: PROXYING,
      rounds: 2,
      measure: (name) => together(servers, name, shared),
    },
  ]
}

/** What a server adds to the time to the first byte of its upstream, where nothing else is going on. */
async function firstByte(servers: ColdServers, name: ServerName, job: GetJob): Promise<Figures> {
  const direct = await servers.bench.load.get(servers.upstream.port, job)
  const { firstByte } = await servers.timed(name, job)
  return { 'cold-ttfb': firstByte.p50 - direct.firstByte.p50 }
}

async function together(servers: ColdServers, name: ServerName, job: GetJob): Promise<Figures> {
  const { bytes, seconds, upstreamShare } = await servers.timed(name, job)
  return { 'cold-32': bytes / MIB / seconds, 'cold-32-bytes': upstreamShare }
}

/** How long the seven others take while one reads 4 MiB a second. */
function slow(servers: ColdServers, name: ServerName, item: Item): Promise<Figures> {
  return servers.with(name, async (server) => {
    const { load } = servers.bench
    const reader = load.background(server.port, {
      targets: [item],
      connections: 1,
      requests: 1,
      bytesPerSecond: 4 * MIB,
    })
    await sleep(100)
    const { seconds } = await load.get(server.port, { targets: [item], connections: 7, requests: 7 })
    await reader.stop()
    return { 'cold-slow': seconds }
  })
}

/** What each of 32 clients gets, over what the upstream gives to all connections together. */
async function limited(servers: ColdServers, item: Item): Promise<Figures> {
  const { load } = servers.bench
  const upstream = await load.limit(servers.upstream.port, LIMITED)
  try {
    const job: GetJob = { targets: [item], connections: 32, threads: 2, requests: 32 }
    const use = (server: Server) => load.get(server.port, job)
    const { seconds } = await servers.with('entrepot', use, `http://127.0.0.1:${upstream.port}`)
    return { 'cold-32-limited': item.bytes / seconds / LIMITED }
  } finally {
    await upstream.stop()
  }
}
