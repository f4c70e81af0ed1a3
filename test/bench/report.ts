import { figureOf, type Run, ratioOf } from './results.js'
import { type Goal, ROWS, type Row, reaches, ZOT } from './rows.js'
import type { ServerName } from './servers.js'

const PEERS = ['proxy', 'registry', 'distribution'] as const satisfies readonly ServerName[]

/** One line of cells for each row that was measured, under a head. */
export function tableOf(run: Run): string[][] {
  const head = ['row', 'ours', 'spread', 'rounds', 'of proxy', 'of best peer', 'of nginx', 'must', 'stretch', 'met']
  return [head, ...measured(run).map((row) => lineOf(run, row))]
}

/** The rows of which a figure of ours is there. */
export function measured(run: Run): Row[] {
  return ROWS.filter(({ id }) => run.samples[id]?.entrepot?.length)
}

/** Whether everything that must be reached is. */
export function isMet(run: Run, row: Row): boolean {
  return row.goals.every((goal) => reached(run, row, goal, 'must') !== false)
}

function lineOf(run: Run, row: Row): string[] {
  const samples = run.samples[row.id]!.entrepot!
  const [least, most] = [Math.min(...samples), Math.max(...samples)]
  const musts = row.goals.filter(({ must }) => must !== undefined)
  const stretched = row.goals.filter(({ stretch }) => stretch !== undefined)
  return [
    `${row.group}: ${row.name}`,
    `${short(figureOf(run, row.id, 'entrepot'))} ${row.unit}`,
    `${short(least)} to ${short(most)}`,
    String(samples.length),
    ofRegistry(run, row),
    bestPeer(run, row),
    short(ratioOf(run, row.id, 'nginx')),
    musts.map((goal) => bound(row, goal, goal.must!)).join(', '),
    stretched.map((goal) => bound(row, goal, goal.stretch!)).join(', '),
    verdict(run, row, { musts, stretched }),
  ]
}

function verdict(run: Run, row: Row, { musts, stretched }: { musts: Goal[]; stretched: Goal[] }): string {
  if (!isMet(run, row)) return 'NO'
  if (musts.some((goal) => reached(run, row, goal, 'must') === undefined)) return '?'
  const all = stretched.length > 0 && stretched.every((goal) => reached(run, row, goal, 'stretch'))
  if (all) return 'stretch'
  return musts.length > 0 ? 'yes' : ''
}

/** The ratio to docker-registry: as a proxy, or as what it is where that does not apply. */
function ofRegistry(run: Run, { id, goals }: Row): string {
  const asRegistry = goals.some(({ over }) => over === 'registry')
  return asRegistry ? `${short(ratioOf(run, id, 'registry'))} registry` : short(ratioOf(run, id, 'proxy'))
}

/** The ratio to whoever but nginx is best. */
function bestPeer(run: Run, row: Row): string {
  const ratios: { name: string; ratio: number }[] = PEERS.flatMap((name) => {
    const ratio = ratioOf(run, row.id, name)
    return ratio === undefined ? [] : [{ name, ratio }]
  })
  const [measuredFirst] = ratios
  const zot = ZOT[row.id]
  if (measuredFirst && zot) ratios.push({ name: 'zot*', ratio: measuredFirst.ratio / zot })
  if (ratios.length < 2) return ''
  const [best] = ratios.sort((a, b) => (row.better === 'more' ? a.ratio - b.ratio : b.ratio - a.ratio))
  return `${short(best!.ratio)} ${best!.name}`
}

/** undefined where there is no such bound, or nothing to compare with. */
function reached(run: Run, row: Row, goal: Goal, kind: 'must' | 'stretch'): boolean | undefined {
  const value = goal.over ? ratioOf(run, row.id, goal.over) : figureOf(run, row.id, 'entrepot')
  const wanted = goal[kind]
  return wanted === undefined || value === undefined ? undefined : reaches(row, value, wanted)
}

function bound({ better, unit }: Row, { over }: Goal, value: number): string {
  return `${better === 'more' ? '>=' : '<='} ${value} ${over ? `of ${over}` : unit}`.trim()
}

/** How each row's figure has changed since another run: above 1 it is more than it was. */
export function comparison(run: Run, before: Run): string[][] {
  const lines = measured(run).flatMap((row) => {
    const [now, then] = [figureOf(run, row.id, 'entrepot')!, figureOf(before, row.id, 'entrepot')]
    if (then === undefined) return []
    const better = row.better === 'more' ? now / then : then / now
    const ratios = (['proxy', 'nginx'] as const).map(
      (name) => `${short(ratioOf(before, row.id, name))} -> ${short(ratioOf(run, row.id, name))}`,
    )
    return [[`${row.group}: ${row.name}`, `${short(then)} -> ${short(now)} ${row.unit}`, short(better), ...ratios]]
  })
  return [['row', 'ours', 'times as good', 'of proxy', 'of nginx'], ...lines]
}

/** For a terminal: columns of one width. */
export function inColumns(table: readonly string[][]): string {
  const widths = table[0]!.map((_, at) => Math.max(...table.map((line) => line[at]!.length)))
  return table
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** For README.md. */
export function asMarkdown([head = [], ...lines]: readonly string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, at) => (at === 0 ? '---' : '---:'))), ...lines.map(line)].join('\n')
}

/** Three digits that count. */
function short(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return ''
  if (Math.abs(value) >= 100) return value.toFixed(0)
  return String(Number(value.toPrecision(3)))
}
