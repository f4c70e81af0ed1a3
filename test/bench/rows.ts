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
export const GROUPS = ['hot'] as const
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
}

export const ROWS: readonly Row[] = GROUPS.flatMap((group) =>
  TABLE[group].map(([id, name, unit, better, ...goals]) => ({ id, group, name, unit, better, goals })),
)

/** Whether a figure or ratio is as good as a bound. */
export function reaches({ better }: Row, value: number, bound: number): boolean {
  return better === 'more' ? value >= bound : value <= bound
}
