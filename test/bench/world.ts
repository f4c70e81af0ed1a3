import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { attempt, run } from '../helpers/process.js'
import { Load } from './load.js'
import { DISTRIBUTION_VERSION, programsOf } from './programs.js'
import type { Run } from './results.js'
import type { Bench } from './stage.js'

const CONGESTION_CONTROL = 'cubic'

/** The loopback of this network namespace, and what `bench.ts` has handed over. @throws where that has not started it */
export async function enterWorld(): Promise<Pick<Bench, 'folder' | 'load' | 'programs'>> {
  const { ENTREPOT_RUN_ROOT: folder } = process.env
  const programs = programsOf(process.env)
  if (!folder || !programs) throw new Error('start this by npm run bench or npm run profile')
  await run('ip', ['link', 'set', 'lo', 'up'])
  // BBR, some machines' default, paces even loopback. By the route: the namespace's own default may not be any.
  const route = ['local', '127.0.0.1', 'dev', 'lo', 'src', '127.0.0.1', 'table', 'local', 'congctl', CONGESTION_CONTROL]
  await run('ip', ['route', 'replace', ...route])
  return { folder, load: new Load(programs.load), programs }
}

/** A run without samples: when, where, of what. */
export async function newRun(): Promise<Run> {
  const root = join(import.meta.dirname, '../..')
  const text = async (command: string, args: string[]) => (await attempt(command, args, { cwd: root })).output.trim()
  const [cpu] = cpus()
  const gibibytes = Math.round(totalmem() / 1024 ** 3)
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    machine: `${cpus().length} x ${cpu?.model.trim()}, ${gibibytes} GiB, Linux ${release()}`,
    commit: await text('git', ['describe', '--always', '--dirty', '--abbrev=12']),
    versions: {
      node: process.version,
      'docker-registry': /\S+$/.exec(await text('docker-registry', ['--version']))?.[0] ?? '',
      distribution: DISTRIBUTION_VERSION,
      nginx: /nginx\/(\S+)/.exec(await text('nginx', ['-v']))?.[1] ?? '',
      skopeo: /version (\S+)/.exec(await text('skopeo', ['--version']))?.[1] ?? '',
      tcp: CONGESTION_CONTROL,
    },
    samples: {},
    notes: [],
  }
}
