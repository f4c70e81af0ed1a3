import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { type Content, type Item, MIB } from './content.js'
import { type Server, type ServerName, StaticNginx, startEntrepot, startRegistry } from './servers.js'
import type { Bench } from './stage.js'

export const ALL: readonly ServerName[] = ['entrepot', 'proxy', 'registry', 'distribution', 'nginx']

interface Wanted {
  bench: Bench
  folder: string
  files: Content
  /** What each has, and has served. */
  items: readonly Item[]
}

interface Started {
  servers: Map<ServerName, Server>
  stop(): Promise<void>
}

/** All servers that are measured, side by side, each with everything in its cache and looked at there. */
export async function startCached(wanted: Wanted): Promise<Started> {
  const { bench, folder, files, items } = wanted
  const at = (name: string) => ({ folder: join(folder, name) })
  const upstream = await StaticNginx.start({ ...at('upstream'), content: files })
  const remote = upstream.url
  const program = 'docker-registry'
  // What the proxy has stored is a registry's storage.
  const storage = join(folder, 'proxy', 'storage')
  const starting: Record<ServerName, () => Promise<Server>> = {
    entrepot: () => startEntrepot({ ...at('entrepot'), upstreams: [remote], node: bench.node }),
    proxy: () => startRegistry({ ...at('proxy'), program, remote }),
    registry: () => startRegistry({ ...at('registry'), program, storage }),
    distribution: () => startRegistry({ ...at('distribution'), program: bench.programs.distribution, remote }),
    nginx: () => StaticNginx.start({ ...at('nginx'), content: files }),
  }
  const servers = new Map<ServerName, Server>()
  for (const name of ALL.filter(bench.wants)) {
    const server = await starting[name]()
    servers.set(name, server)
    await check(bench, server, items)
    if (name === 'nginx' || name === 'registry') continue
    for (const item of items.filter(({ bytes }) => bytes >= MIB)) await stored(server.port, item)
    await check(bench, server, items)
  }
  const stop = async () => {
    for (const server of [...servers.values(), upstream]) await server.stop()
  }
  return { servers, stop }
}

/** Has everything fetched, and looks at all digests. */
async function check({ load }: Bench, { port }: Server, items: readonly Item[]): Promise<void> {
  const every = { targets: items, connections: 4, threads: 2, requests: items.length }
  await load.get(port, { ...every, accept: MEDIA_TYPES.ociManifest, check: true })
}

/**
 * docker-registry stores a blob beside sending it, gives no ranges until it has, and gives up if the client was served first:
 * then it must be asked again.
 */
async function stored(port: number, { path }: Item): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { range: 'bytes=0-0' } })
    for await (const _ of answer.body ?? []);
    if (answer.status === 206) return
    await sleep(500)
  }
  throw new Error(`${path} does not come into the cache`)
}
