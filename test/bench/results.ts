import { readFile } from 'node:fs/promises'
import type { ServerName } from './servers.js'

/** What one run has found, as it is written to a file. */
export interface Run {
  date: string
  machine: string
  commit: string
  versions: Record<string, string>
  /** Row to server to its figure in each round, in the order of the rounds. */
  samples: Record<string, Partial<Record<ServerName, number[]>>>
  /** What a reader must know of this run. */
  notes: string[]
}

/** Figures that one measurement of one server brings, by row. */
export type Figures = Record<string, number>

export function addFigures(run: Run, server: ServerName, figures: Figures): void {
  for (const [row, value] of Object.entries(figures)) {
    const of = run.samples[row] ?? {}
    run.samples[row] = of
    of[server] = [...(of[server] ?? []), value]
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[at]! : (sorted[at - 1]! + sorted[at]!) / 2
}

/** The median over the rounds; undefined for a server that the row is not measured of. */
export function figureOf(run: Run, row: string, server: ServerName): number | undefined {
  const samples = run.samples[row]?.[server]
  return samples?.length ? median(samples) : undefined
}

/** The median of what each round's figure is over another server's of the same round. */
export function ratioOf(run: Run, row: string, over: ServerName): number | undefined {
  const { entrepot: ours = [], [over]: theirs = [] } = run.samples[row] ?? {}
  const ratios = ours.slice(0, theirs.length).map((value, round) => value / theirs[round]!)
  return ratios.length > 0 ? median(ratios) : undefined
}

/** @throws unless the file is what a run has written */
export async function readRun(file: string): Promise<Run> {
  const run = JSON.parse(await readFile(file, 'utf8')) as Partial<Run>
  if (typeof run.samples !== 'object') throw new Error(`${file} is not what a bench run has written`)
  return run as Run
}
