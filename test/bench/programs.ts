import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../helpers/process.js'

/** Program and Debian package of all that a run needs besides Node. */
export const NEEDED: Record<string, string> = {
  'docker-registry': 'docker-registry',
  nginx: 'nginx-light',
  skopeo: 'skopeo',
  dockerd: 'docker.io',
  docker: 'docker.io',
  containerd: 'containerd',
  runc: 'runc',
  wrk: 'wrk',
  go: 'golang-go, or of go.dev: 1.25',
}

export const DISTRIBUTION_VERSION = 'v3.1.2'
const DISTRIBUTION = 'github.com/distribution/distribution/v3/cmd/registry'
const SOURCES = join(import.meta.dirname, 'load')

/** Where the programs are that the Go client makes. */
export interface Programs {
  load: string
  distribution: string
}

/** What `bench.ts` hands over to the run; `programsOf` reads it. */
export async function benchPrograms(): Promise<Record<string, string>> {
  const { load, distribution } = await build()
  return { ENTREPOT_BENCH_LOAD: load, ENTREPOT_BENCH_DISTRIBUTION: distribution }
}

/** @returns undefined where nothing was handed over */
export function programsOf(environment: Record<string, string | undefined>): Programs | undefined {
  const { ENTREPOT_BENCH_LOAD: load, ENTREPOT_BENCH_DISTRIBUTION: distribution } = environment
  return load && distribution ? { load, distribution } : undefined
}

/**
 * Builds them, where modules can be had: some seconds, and once some minutes for distribution, whose sum the Go client checks.
 * Kept between runs in a folder under the temporary folder.
 */
async function build(): Promise<Programs> {
  const cache = join(tmpdir(), 'entrepot-bench-cache')
  await mkdir(cache, { recursive: true })
  const sources = (await readdir(SOURCES)).filter((name) => name.endsWith('.go')).sort()
  const load = await kept(cache, `load-${await sumOf(sources)}`, async (folder) => {
    await run('go', ['build', '-o', join(folder, 'made'), ...sources], { cwd: SOURCES, timeoutMs: 300_000 })
  })
  const distribution = await kept(cache, `distribution-${DISTRIBUTION_VERSION}`, async (folder) => {
    const env = { GOBIN: folder, CGO_ENABLED: '0' }
    await run('go', ['install', `${DISTRIBUTION}@${DISTRIBUTION_VERSION}`], { env, timeoutMs: 1_200_000 })
    await rename(join(folder, 'registry'), join(folder, 'made'))
  })
  return { load, distribution }
}

/** The program by that name; `make` puts it into a folder as `made`, if it is not there. */
async function kept(cache: string, name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const path = join(cache, name)
  if (existsSync(path)) return path
  const folder = await mkdtemp(join(cache, 'making-'))
  try {
    await make(folder)
    await rename(join(folder, 'made'), path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return path
}

async function sumOf(sources: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const name of sources) hash.update(await readFile(join(SOURCES, name)))
  return hash.digest('hex').slice(0, 16)
}
