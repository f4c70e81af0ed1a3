import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attempt } from './process.js'

export interface IsolatedRun {
  /** As in `npm run test:NAME` and `test/NAME/vitest.config.ts`; for messages and folders where there is another command. */
  name: string
  /** Arguments of Node; default: vitest with the arguments of this process. */
  command?: readonly string[]
  /** Program and Debian package of everything that a run needs; .ci/run installs the same packages. */
  needed: Record<string, string>
  /** Further variables for the run, found out before it starts, outside of the namespaces. */
  environment?: () => Promise<Record<string, string>>
}

/** What the runner itself needs. */
const OWN: Record<string, string> = { unshare: 'util-linux', setpriv: 'util-linux', ip: 'iproute2' }

/**
 * Starts vitest, or another command of Node, as root in private network, mount and process namespaces: the kernel
 * ends every process, mount and link of a run with it, also when it is killed. The run's folder, which is removed at the
 * end, is handed over in ENTREPOT_RUN_ROOT. The end of the process is its result.
 */
export async function runIsolated(options: IsolatedRun): Promise<void> {
  process.exitCode = await start(options).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    return 1
  })
}

async function start({ name, command, needed, environment = async () => ({}) }: IsolatedRun): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error(`${name} makes namespaces of its own: run it as root`)
  await refuseMissing({ ...OWN, ...needed })
  const more = await environment()
  const prefix = `entrepot-${name}-run-`
  await removeStale(prefix)
  const root = await mkdtemp(join(tmpdir(), prefix))
  await writeFile(join(root, 'owner'), String(process.pid))
  try {
    const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', `test/${name}/vitest.config.ts`]
    return await runNode(command ?? [...vitest, ...process.argv.slice(2)], { ...more, ENTREPOT_RUN_ROOT: root })
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/** A program that is missing fails the run: nothing is skipped. */
async function refuseMissing(needed: Record<string, string>): Promise<void> {
  const missing: string[] = []
  for (const [program, debianPackage] of Object.entries(needed)) {
    const { code } = await attempt('sh', ['-c', `command -v ${program}`])
    if (code !== 0) missing.push(`${program} (Debian: ${debianPackage})`)
  }
  if (missing.length > 0) throw new Error(`missing: ${missing.join(', ')}`)
}

/** Folders of runs whose process is gone. */
async function removeStale(prefix: string): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue
    const owner = await readFile(join(tmpdir(), name, 'owner'), 'utf8').catch(() => '')
    if (owner && existsSync(`/proc/${owner}`)) continue
    await rm(join(tmpdir(), name), { recursive: true, force: true })
  }
}

async function runNode(command: readonly string[], env: Record<string, string>): Promise<number> {
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
      ...[process.execPath, ...command],
    ],
    { stdio: 'inherit', cwd: join(import.meta.dirname, '../..'), env: { ...process.env, ...env } },
  )
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGKILL'))
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}
