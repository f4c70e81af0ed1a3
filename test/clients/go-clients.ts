import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Finished, run } from '../helpers/process.js'
import { WORLD } from './world.js'

/** Clients that Debian does not have: the package `cmd/NAME` of Go modules at pinned versions, whose sums the Go client checks. */
const MODULES = {
  crane: 'github.com/google/go-containerregistry@v0.22.1',
  regctl: 'github.com/regclient/regclient@v0.11.7',
  oras: 'oras.land/oras@v1.3.6',
  helm: 'helm.sh/helm/v3@v3.22.0',
  cosign: 'github.com/sigstore/cosign/v2@v2.6.5',
  notation: 'github.com/notaryproject/notation@v1.3.2',
}

export type GoClientName = keyof typeof MODULES

/** Runs a client; an exit code other than 0 is an error. */
export type GoClients = Record<GoClientName, (...args: string[]) => Promise<Finished>>

/**
 * Builds them, outside of the run's namespaces, where modules can be had; each takes from some seconds to some minutes. Kept
 * between runs in a folder under the temporary folder.
 *
 * @returns the folder that holds the programs
 */
export async function buildGoClients(): Promise<string> {
  const cache = join(tmpdir(), 'entrepot-clients-cache', 'go')
  await mkdir(cache, { recursive: true })
  for (const name of Object.keys(MODULES) as GoClientName[]) {
    const kept = join(cache, fileOf(name))
    if (existsSync(kept)) continue
    const folder = await mkdtemp(join(cache, 'making-'))
    await build(name, folder)
    await rename(join(folder, name), kept)
    await rm(folder, { recursive: true })
  }
  return cache
}

/** In a module of its own: `go install MODULE@VERSION` asks for the list of versions too, which a proxy may not have. */
async function build(name: GoClientName, folder: string): Promise<void> {
  const [module] = MODULES[name].split('@')
  const options = { cwd: folder, env: { GOBIN: folder, CGO_ENABLED: '0' }, timeoutMs: 1_200_000 }
  await run('go', ['mod', 'init', 'client'], options)
  await run('go', ['mod', 'edit', `-require=${MODULES[name]}`], options)
  await run('go', ['install', '-mod=mod', `${module}/cmd/${name}`], options)
}

/** The clients in the network of tools, with a home of their own in `folder`. */
export async function goClients(
  programs: string,
  folder: string,
  env: Record<string, string> = {},
): Promise<GoClients> {
  await mkdir(folder, { recursive: true })
  const options = {
    netns: WORLD.tools.netns,
    cwd: folder,
    env: {
      HOME: folder,
      DOCKER_CONFIG: folder,
      XDG_CACHE_HOME: join(folder, 'cache'),
      XDG_CONFIG_HOME: folder,
      ...env,
    },
  }
  const client = (name: GoClientName) => [name, (...args: string[]) => run(join(programs, fileOf(name)), args, options)]
  return Object.fromEntries((Object.keys(MODULES) as GoClientName[]).map(client)) as GoClients
}

const fileOf = (name: GoClientName) => `${name}-${MODULES[name].split('@')[1]}`
