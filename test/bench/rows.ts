import type { ServerName } from './servers.js'

/** One bound on a figure of ours. */
export interface Goal {
  /** On the ratio to that server's figure in the same run; absent: on the figure itself. */
  over?: Exclude<ServerName, 'entrepot'>
  /** What must be reached; absent: it is only wished for. */
  must?: number
  /** What is tried. */
  stretch?: number
}

export interface Row {
  id: string
  group: Group
  /** What is measured, and its unit. */
  name: string
  unit: string
  better: 'more' | 'less'
  goals: readonly Goal[]
}

/** One pattern of `--only` chooses it whole; each is a file of its own. */
export const GROUPS = ['hot', 'cold', 'memory', 'start', 'mirrors', 'push', 'clients', 'busy'] as const
export type Group = (typeof GROUPS)[number]

const proxy = (must?: number, stretch?: number): Goal => ({ over: 'proxy', ...bounds(must, stretch) })
const nginx = (must?: number, stretch?: number): Goal => ({ over: 'nginx', ...bounds(must, stretch) })
const registry = (must?: number, stretch?: number): Goal => ({ over: 'registry', ...bounds(must, stretch) })
const itself = (must?: number, stretch?: number): Goal => bounds(must, stretch)

function bounds(must?: number, stretch?: number): Goal {
  return { ...(must !== undefined && { must }), ...(stretch !== undefined && { stretch }) }
}

type Line = [id: string, name: string, unit: string, better: 'more' | 'less', ...goals: Goal[]]

/**
 * Every row, with what it must reach and what is tried: where two goals were set for one thing, the harder. A goal on a ratio
 * counts within one run only, since it is the same machine's.
 */
const TABLE: Record<Group, Line[]> = {
  hot: [
    ['hot-64m', '64 MiB, 8 connections', 'GiB/s', 'more', proxy(1.0, 1.25), nginx(0.8)],
    ['hot-64m-cpu', '64 MiB, 8 connections, CPU', 's/GiB', 'less', proxy(1.0, 0.6), nginx(3.0, 1.5)],
    ['hot-1m', '1 MiB, 8 connections', 'req/s', 'more', proxy(3, 5), nginx()],
    ['hot-1m-c32', '1 MiB, 32 connections', 'req/s', 'more', proxy(3.8, 5), nginx()],
    ['hot-4k', '4 KiB, 64 connections', 'req/s', 'more', proxy(30, 60), nginx(0.35, 0.5)],
    ['hot-ranges', '1 MiB ranges of 512 MiB, 8 connections', 'req/s', 'more', proxy(4.7, 6), nginx()],
    ['hot-digest', 'manifest by digest, 64 connections', 'req/s', 'more', proxy(12, 25), nginx()],
    ['hot-digest-c32', 'manifest by digest, 32 connections', 'req/s', 'more', registry(12, 25), nginx(0.15, 0.3)],
    ['hot-digest-p99', 'manifest by digest, 32 connections, p99', 'ms', 'less', itself(8, 4), proxy(), nginx()],
    ['hot-tag', 'manifest by tag, 64 connections', 'req/s', 'more', proxy(30, 60), nginx()],
    ['hot-tag-p99', 'manifest by tag, 64 connections, p99', 'ms', 'less', proxy(0.05, 0.03), nginx()],
    ['hot-tag-c32', 'manifest by tag, 32 connections', 'req/s', 'more', proxy(30, 60), nginx()],
    ['hot-tag-c32-p99', 'manifest by tag, 32 connections, p99', 'ms', 'less', itself(8, 4), proxy(), nginx()],
    ['hot-head', 'HEAD of a manifest, 64 connections', 'req/s', 'more', proxy(36, 70), nginx()],
    ['mixed-p99', 'mixed: manifest p99 beside 8 downloads', 'ms', 'less', proxy(0.1, 0.04), itself(25, 3), nginx()],
    ['mixed', 'mixed: 8 downloads beside manifests', 'GiB/s', 'more', proxy(2.5, 3), nginx()],
  ],
  cold: [
    ['cold-512m', '512 MiB', 'MiB/s', 'more', proxy(0.9, 1.5), nginx()],
    ['cold-512m-cpu', '512 MiB, CPU', 's/GiB', 'less', proxy(0.9, 0.5), nginx()],
    ['cold-8x64m', '8 different 64 MiB at once', 'MiB/s', 'more', proxy(1.3, 2), nginx()],
    ['cold-8x64m-cpu', '8 different 64 MiB at once, CPU', 's/GiB', 'less', proxy(0.9, 0.5), nginx()],
    ['cold-64x1m', '64 different 1 MiB, 8 at once', 'MiB/s', 'more', proxy(1.5, 2.5), nginx()],
    ['cold-64x1m-cpu', '64 different 1 MiB, 8 at once, CPU', 's/GiB', 'less', proxy(), nginx()],
    ['cold-ttfb', 'added to the time to first byte, 1 MiB', 'ms', 'less', itself(5, 2), proxy(0.7)],
    ['cold-32', '32 clients, the same 256 MiB', 'MiB/s', 'more', proxy(2, 2.5), nginx()],
    ['cold-32-bytes', '32 clients, the same 256 MiB: upstream bytes over its size', '', 'less', itself(1), proxy()],
    ['cold-32-limited', "32 clients, each one's rate over a limited upstream's", '', 'more', itself(0.9, 0.97)],
    ['cold-slow', '7 readers of 64 MiB beside one of 4 MiB/s', 's', 'less', proxy(2.5, 1)],
  ],
  memory: [
    ['memory-64', '64 downloads of 64 MiB, peak', 'MiB', 'less', proxy(0.33, 0.15), itself(256, 100), nginx()],
    ['memory-200', '200 readers at 1 MiB/s, peak', 'MiB', 'less', proxy(0.18, 0.1), nginx()],
  ],
  start: [
    ['start', 'exec to the first 200', 'ms', 'less', proxy(undefined, 10), nginx()],
    ['start-1m', 'more with 1,000,000 blobs', 'ms', 'less', itself(250)],
    ['touch', 'noting a use, of 1,000,000 blobs', 'us', 'less', itself(15)],
  ],
  mirrors: [
    ['mirrors-2', '2 x 5 MB/s, 1 connection each, over one', 'x', 'more', itself(1.7)],
    ['mirrors-4', '4 x 5 MB/s, 1 connection each, over one', 'x', 'more', itself(3.2)],
    ['mirrors-4x4', '4 x 5 MB/s, 4 connections each, over one', 'x', 'more', itself(9)],
    ['mirrors-unequal', '5, 5, 5 and 1 MB/s, of the sum', '', 'more', itself(0.8)],
    ['mirrors-bytes', 'upstream bytes over the size, at most', '', 'less', itself(undefined, 1)],
    ['line-8', 'cold 64 MiB, 4 mirrors, 40 ms and 8 MB/s a connection', 'MiB/s', 'more', proxy(9, 13)],
    ['line-4', 'cold 64 MiB, 4 mirrors, 50 ms and 4 MB/s a connection', 's', 'less', proxy(0.12)],
    ['hedge', 'manifests p95, more with one of two mirrors stalled', 'ms', 'less', itself(250)],
  ],
  push: [
    ['push-256m', '256 MiB in one piece', 'MiB/s', 'more', registry(1.5, 2.4)],
    ['push-256m-cpu', '256 MiB in one piece, CPU', 's/GiB', 'less', registry(1, 0.6)],
    ['push-256m-peak', '256 MiB in one piece, peak memory', 'MiB', 'less', registry()],
    ['push-last', '256 MiB in one piece, its last PUT', 'ms', 'less', registry()],
    ['push-chunks', '256 MiB in chunks of 8 MiB', 'MiB/s', 'more', registry(1.5, 2.4)],
    ['push-small', 'small images, 8 at once', 'images/s', 'more', registry(1.5, 2.5)],
    ['push-small-cpu', 'small images, CPU', 'ms/image', 'less', registry()],
    ['list-tags', 'list of 10,000 tags', 'ms', 'less', registry()],
    ['list-catalog', 'page of 1,000 of a catalog of 2,000', 'ms', 'less', registry()],
  ],
  clients: [
    ['skopeo-cold', 'skopeo copy of 200 MB, cold', 's', 'less', proxy(1, 0.9), nginx(1.15)],
    ['skopeo-hot', 'skopeo copy of 200 MB, hot', 's', 'less', proxy(1), nginx(1.05)],
    ['docker-cold', 'docker pull of 200 MB, cold', 's', 'less', proxy(1), nginx(1.15)],
    ['docker-hot', 'docker pull of 200 MB, hot', 's', 'less', proxy(1), nginx(1.05)],
  ],
  busy: [
    ['loop-p99', '8 downloads, 2 fills, 64 manifest clients: event loop delay, p99', 'ms', 'less', itself(20)],
    ['loop-max', '8 downloads, 2 fills, 64 manifest clients: event loop delay, most', 'ms', 'less'],
  ],
}

/**
 * zot 2.1.20, which is not built here, over docker-registry (of pushes as a registry, else as a proxy), measured once in another
 * run beside it: so it counts as a peer, if not as exactly.
 */
export const ZOT: Readonly<Record<string, number>> = {
  'hot-64m': 1.17,
  'hot-64m-cpu': 0.82,
  'hot-1m-c32': 3.76,
  'hot-4k': 8.33,
  'hot-ranges': 4.09,
  'hot-digest': 9.79,
  'hot-tag': 16,
  'hot-tag-p99': 0.09,
  'hot-head': 18,
  mixed: 2.84,
  'mixed-p99': 0.51,
  'cold-512m': 0.22,
  'cold-512m-cpu': 1.26,
  'cold-8x64m': 0.71,
  'cold-64x1m': 1.84,
  'cold-32': 1.68,
  'push-256m': 2.34,
  'push-256m-cpu': 0.5,
  'push-chunks': 2.23,
  'push-small': 1.3,
  'memory-64': 0.34,
  'memory-200': 0.18,
  start: 2.69,
  'line-8': 1.01,
  'skopeo-cold': 1.45,
  'skopeo-hot': 1,
}

export const ROWS: readonly Row[] = GROUPS.flatMap((group) =>
  TABLE[group].map(([id, name, unit, better, ...goals]) => ({ id, group, name, unit, better, goals })),
)

/** Whether a figure or ratio is as good as a bound. */
export function reaches({ better }: Row, value: number, bound: number): boolean {
  return better === 'more' ? value >= bound : value <= bound
}
