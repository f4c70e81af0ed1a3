import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GROUPS, ROWS } from './rows.js'
import { runStage } from './stage.js'
import { STAGES } from './stages.js'
import { enterWorld, newRun } from './world.js'

const SECONDS = 40
const SHOWN = 25
const OUT = join(import.meta.dirname, '../../bench-results')

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  /** Microseconds before each sample. */
  timeDeltas: number[]
}

async function main([pattern]: string[]): Promise<void> {
  const only = new RegExp(pattern ?? '^$')
  const rows = ROWS.filter(({ id }) => only.test(id))
  if (rows.length === 0) {
    throw new Error(
      `npm run profile -- ROW, a pattern of rows of one of ${GROUPS.join(', ')}; see npm run bench -- --help`,
    )
  }
  const world = await enterWorld()
  const folder = join(world.folder, 'profiles')
  const run = await newRun()
  const wanted = new Set(rows.map(({ id }) => id))
  const bench = {
    ...world,
    quick: false,
    long: true,
    node: ['--cpu-prof', `--cpu-prof-dir=${folder}`],
    wants: (name: string) => name === 'entrepot',
    wantsRow: (id: string) => wanted.has(id),
    note: () => {},
  }
  const groups = new Set(rows.map(({ group }) => group))
  const until = performance.now() + SECONDS * 1000
  for (const stage of STAGES.filter(({ group }) => groups.has(group))) {
    await runStage({ ...stage, rounds: { full: 20, quick: 20 } }, bench, run, until)
  }
  await show(folder, `${run.date.replace(/\W/g, '-')}-${rows[0]!.id}`)
}

/** Keeps what the servers have written when they stopped, a file for each thread, and prints all of it together. */
async function show(folder: string, name: string): Promise<void> {
  await mkdir(OUT, { recursive: true })
  const selfTimes = new Map<string, number>()
  for (const [n, file] of (await readdir(folder)).entries()) {
    const kept = join(OUT, `${name}-${n}.cpuprofile`)
    await copyFile(join(folder, file), kept)
    console.log(kept)
    addSelfTimes(selfTimes, JSON.parse(await readFile(kept, 'utf8')) as CpuProfile)
  }
  const idle = selfTimes.get('(idle)') ?? 0
  selfTimes.delete('(idle)')
  const busy = [...selfTimes.values()].reduce((sum, time) => sum + time, 0)
  const share = (time: number) => `${((time / busy) * 100).toFixed(1).padStart(5)} %`
  const of = (what: string) => share(selfTimes.get(what) ?? 0)
  console.log(`\nbusy ${seconds(busy)}, idle ${seconds(idle)}; of the busy time:`)
  console.log(`${of('(garbage collector)')}  garbage collection\n${of('(program)')}  native, not in a function\n`)
  const sorted = [...selfTimes].filter(([what]) => !what.startsWith('(')).sort(([, a], [, b]) => b - a)
  for (const [what, time] of sorted.slice(0, SHOWN)) console.log(`${share(time)}  ${what}`)
}

/** Microseconds to each function. */
function addSelfTimes(times: Map<string, number>, { nodes, samples, timeDeltas }: CpuProfile): void {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  for (const [at, id] of samples.entries()) {
    const name = names.get(id)!
    times.set(name, (times.get(name) ?? 0) + timeDeltas[at]!)
  }
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  if (functionName.startsWith('(')) return functionName
  const file = url.replace(/^.*\/(?=dist\/|node_modules\/)/, '')
  return `${functionName || 'anonymous'} ${file ? `${file}:${lineNumber + 1}` : 'native'}`
}

const seconds = (microseconds: number) => `${(microseconds / 1e6).toFixed(1)} s`

try {
  await main(process.argv.slice(2))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
