import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type Finished, run } from '../helpers/process.js'
import { WORLD } from './world.js'

/** Clients that Debian does not have, as Go packages at pinned versions; their sums are checked by the Go client. */
const PACKAGES = {
  crane: 'github.com/google/go-containerregistry/cmd/crane@v0.22.1',
  regctl: 'github.com/regclient/regclient/cmd/regctl@v0.11.7',
  oras: 'oras.land/oras/cmd/oras@v1.3.6',
  helm: 'helm.sh/helm/v3/cmd/helm@v3.22.0',
}

export type GoClientName = keyof typeof PACKAGES

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
  for (const [name, path] of Object.entries(PACKAGES)) {
    const kept = join(cache, fileOf(name as GoClientName))
    if (existsSync(kept)) continue
    const folder = await mkdtemp(join(cache, 'making-'))
    await run('go', ['install', path], { env: { GOBIN: folder, CGO_ENABLED: '0' }, timeoutMs: 1_200_000 })
    await rename(join(folder, name), kept)
    await rm(folder, { recursive: true })
  }
  return cache
}

/** The clients in the network of tools, with a home of their own in `folder`. */
export async function goClients(programs: string, folder: string): Promise<GoClients> {
  await mkdir(folder, { recursive: true })
  const options = {
    netns: WORLD.tools.netns,
    cwd: folder,
    env: { HOME: folder, DOCKER_CONFIG: folder, XDG_CACHE_HOME: join(folder, 'cache'), XDG_CONFIG_HOME: folder },
  }
  const client = (name: GoClientName) => [name, (...args: string[]) => run(join(programs, fileOf(name)), args, options)]
  return Object.fromEntries((Object.keys(PACKAGES) as GoClientName[]).map(client)) as GoClients
}

const fileOf = (name: GoClientName) => `${name}-${basename(PACKAGES[name]).split('@')[1]}`
