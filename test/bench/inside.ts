import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type BenchOptions, benchOptions, isWanted } from './options.js'
import { putIntoReadme } from './readme.js'
import { asMarkdown, comparison, inColumns, isMet, measured, tableOf } from './report.js'
import { type Run, readRun } from './results.js'
import { ROWS } from './rows.js'
import { type Bench, runStage } from './stage.js'
import { STAGES } from './stages.js'
import { enterWorld, newRun } from './world.js'

/** After so many seconds no further round begins; what is under way comes to its end. */
const LIMIT = { full: 540, quick: 140 }
const ROOT = join(import.meta.dirname, '../..')

async function main(options: BenchOptions): Promise<boolean> {
  const run = options.from ? await readRun(options.from) : await measure(options)
  console.log(inColumns(tableOf(run)))
  console.log(`\n${describe(run)}\n${run.notes.map((note) => `- ${note}`).join('\n')}`)
  if (options.compare) console.log(`\n${inColumns(comparison(run, await readRun(options.compare)))}`)
  if (!options.from)
    await write(run, options.out ?? join(ROOT, 'bench-results', `${run.date.replace(/\W/g, '-')}.json`))
  if (options.readme) await putIntoReadme(join(ROOT, 'README.md'), `${asMarkdown(tableOf(run))}\n\n${describe(run)}`)
  return measured(run).every((row) => isMet(run, row))
}

async function measure({ quick = false, only }: BenchOptions): Promise<Run> {
  const began = performance.now()
  const run = await newRun()
  const rows = ROWS.filter((row) => isWanted(row, only))
  const wanted = new Set(rows.map(({ id }) => id))
  const groups = new Set(rows.map(({ group }) => group))
  const bench: Bench = {
    ...(await enterWorld()),
    quick,
    // What was asked for by name is measured, however long it takes.
    long: !quick || only !== undefined,
    node: [],
    wants: () => true,
    wantsRow: (id) => wanted.has(id),
    note: (text) => void run.notes.push(text),
  }
  const endsAt = began + LIMIT[quick ? 'quick' : 'full'] * 1000
  const stages = STAGES.filter(({ group }) => groups.has(group))
  for (const [n, stage] of stages.entries()) {
    const shares = stages.slice(n).reduce((sum, { share }) => sum + share, 0)
    const until = performance.now() + ((endsAt - performance.now()) * stage.share) / shares
    await runStage(stage, bench, run, until).catch((error: Error) => {
      console.error(error)
      bench.note(`${stage.group} FAILED, rows are missing: ${error.message}`)
      process.exitCode = 1
    })
  }
  bench.note(`${Math.round((performance.now() - began) / 1000)} s in all`)
  return run
}

async function write(run: Run, file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, JSON.stringify(run, undefined, 1))
  console.log(`\nsamples: ${file}`)
}

function describe({ date, machine, commit, versions }: Run): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `${date}, commit ${commit}; ${machine}; ${list.join(', ')}. zot*: 2.1.20, by its ratio to docker-registry in another run.`
}

try {
  if (!(await main(benchOptions(process.argv.slice(2))))) process.exitCode = 1
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
