import type { Load } from './load.js'
import type { Programs } from './programs.js'
import { addFigures, type Figures, type Run } from './results.js'
import type { Group } from './rows.js'
import type { ServerName } from './servers.js'

/** What every stage is given. */
export interface Bench {
  /** For everything that is written; the run removes it. */
  folder: string
  load: Load
  programs: Programs
  quick: boolean
  /** Whether that one is measured. */
  wants(server: ServerName): boolean
  wantsRow(id: string): boolean
  /** Whether cases that take long are measured. */
  long: boolean
  /** Tells the reader of this run's table something. */
  note(text: string): void
  /** Further arguments of Node for our server: how it is profiled. */
  node: readonly string[]
}

/** Several rows that one measurement brings. */
export interface Case {
  rows: readonly string[]
  servers: readonly ServerName[]
  /** At most; default: as many as the run has. */
  rounds?: number
  /** A round takes so long that a quick run of everything goes without. */
  long?: boolean
  measure(server: ServerName): Promise<Figures>
}

export interface OpenStage {
  cases: readonly Case[]
  close(): Promise<void>
}

/** Cases that share running servers or content. */
export interface Stage {
  group: Group
  /** Of the time of a run, in proportion to the others: a quick one has less, and one of few groups more for each. */
  share: number
  rounds: { full: number; quick: number }
  open(bench: Bench): Promise<OpenStage>
}

/**
 * Measures one stage in rounds, in each case the servers one after the other, their order turned each round.
 * @param until when no further round may begin, by `performance.now()`
 */
export async function runStage(stage: Stage, bench: Bench, run: Run, until: number): Promise<void> {
  const opened = await stage.open(bench)
  try {
    const cases = opened.cases.filter(({ rows, long }) => rows.some(bench.wantsRow) && (bench.long || !long))
    const rounds = stage.rounds[bench.quick ? 'quick' : 'full']
    for (let round = 0; round < rounds; round++) {
      for (const each of cases) {
        if (round > 0 && (performance.now() > until || round >= (each.rounds ?? rounds))) continue
        await measure(each, { round, run, bench })
      }
    }
  } finally {
    await opened.close()
  }
}

async function measure(
  { rows, servers, measure }: Case,
  { round, run, bench }: { round: number; run: Run; bench: Bench },
): Promise<void> {
  const some = servers.filter(bench.wants)
  for (const server of round % 2 === 0 ? some : some.toReversed()) {
    const figures = await measure(server)
    addFigures(run, server, Object.fromEntries(Object.entries(figures).filter(([row]) => bench.wantsRow(row))))
  }
  process.stderr.write(`${Math.round(performance.now() / 1000)} s, round ${round + 1}: ${rows.join(', ')}\n`)
}
