import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SqlIndex } from '../../src/metadata/sql-index.js'
import type { Digest } from '../../src/oci/digest.js'
import { indexFile } from '../../src/storage/layout.js'
import { Content } from './content.js'
import { type Server, type ServerName, StaticNginx, startEntrepot, startRegistry } from './servers.js'
import type { Bench, Stage } from './stage.js'

const BLOBS = 1_000_000
const AT_ONCE = 50_000
const TOUCHES = 100_000

/** From exec to the first 200, of all with an empty storage, and of ours with a million blobs in it; and what noting a use costs. */
export const starts: Stage = {
  group: 'start',
  share: 35,
  rounds: { full: 5, quick: 3 },
  async open(bench) {
    const folder = join(bench.folder, 'starts')
    const [empty, full] = [join(folder, 'entrepot'), join(folder, 'full')]
    const millisecondsOf = (at: string) => started(startEntrepot({ folder: at, node: bench.node }))
    for (const at of [empty, full]) await millisecondsOf(at)
    // docker-registry as a proxy does not start without one.
    const upstream = await StaticNginx.start({ folder: join(folder, 'upstream'), content: new Content(folder) })
    if (bench.long) addBlobs(join(full, 'data', indexFile))
    const first = {
      rows: ['start'],
      servers: ['entrepot', 'proxy', 'registry', 'distribution', 'nginx'] as const,
      measure: async (name: ServerName) => ({
        start: await started(startOf({ bench, name, folder: join(folder, name), remote: upstream.url })),
      }),
    }
    const million = {
      long: true,
      rows: ['start-1m'],
      servers: ['entrepot'] as const,
      measure: async () => ({ 'start-1m': (await millisecondsOf(full)) - (await millisecondsOf(empty)) }),
    }
    const noting = {
      long: true,
      rows: ['touch'],
      servers: ['entrepot'] as const,
      measure: async () => ({ touch: touch(join(full, 'data', indexFile)) }),
    }
    const close = async () => {
      await upstream.stop()
      await rm(folder, { recursive: true })
    }
    return { cases: [first, million, noting], close }
  },
}

async function started(starting: Promise<Server>): Promise<number> {
  const server = await starting
  await server.stop()
  return server.startedMs
}

interface Starting {
  bench: Bench
  name: ServerName
  folder: string
  remote: string
}

function startOf({ bench: { programs, node }, name, folder, remote }: Starting): Promise<Server> {
  switch (name) {
    case 'entrepot':
      return startEntrepot({ folder, upstreams: [remote], node })
    case 'nginx':
      return StaticNginx.start({ folder, content: new Content(folder) })
    case 'distribution':
      return startRegistry({ folder, program: programs.distribution, remote })
    case 'proxy':
      return startRegistry({ folder, program: 'docker-registry', remote })
    case 'registry':
      return startRegistry({ folder, program: 'docker-registry' })
  }
}

const digestOf = (n: number) => `sha256:${n.toString(16).padStart(64, '0')}` as Digest

/** Rows as of blobs that were fetched, into the index of a server that has stopped. */
function addBlobs(file: string): void {
  const { index } = SqlIndex.open({ file, now: Date.now })
  for (let from = 0; from < BLOBS; from += AT_ONCE) {
    const some = Array.from({ length: AT_ONCE }, (_, n) => ({ digest: digestOf(from + n), size: 4096 }))
    index.addFound(some.map((blob) => ({ ...blob, manifest: false, pushed: false })))
  }
  index.close()
}

/** Of noting one use of a blob, amortised, microseconds. */
function touch(file: string): number {
  const { index } = SqlIndex.open({ file, now: Date.now })
  const beganAt = performance.now()
  for (let n = 0; n < TOUCHES; n++) index.touch(digestOf((n * 7919) % BLOBS))
  index.flush()
  const microseconds = ((performance.now() - beganAt) / TOUCHES) * 1000
  index.close()
  return microseconds
}
