import { join } from 'node:path'
import { MIB } from './content.js'
import type { PushJob } from './load.js'
import { cpuSeconds, forgetPeak, peakMiB, whenIdle } from './process-tree.js'
import { fillEntrepot, fillRegistry, TAGS } from './pushed-store.js'
import { median } from './results.js'
import { type Server, type ServerName, startEntrepot, startRegistry } from './servers.js'
import type { Bench, Case, Stage } from './stage.js'

const ALL: readonly ServerName[] = ['entrepot', 'registry', 'distribution']
const LARGE = 256 * MIB
const CHUNK = 8 * MIB
const REPEATS = 5

/** What is pushed, and the lists of what was. The answers' status is checked, and of the large ones that the blob comes back. */
export const pushes: Stage = {
  group: 'push',
  share: 60,
  rounds: { full: 5, quick: 2 },
  async open(bench) {
    const servers = await start(bench)
    const of = (name: ServerName) => servers.get(name)!
    const cases: Case[] = [
      {
        rows: ['push-256m', 'push-256m-cpu', 'push-256m-peak', 'push-last'],
        servers: ALL,
        async measure(name) {
          await forgetPeak(of(name).pid)
          const { seconds, lastSeconds, serverSeconds } = await large(bench, of(name), {})
          return {
            'push-256m': LARGE / MIB / seconds,
            'push-256m-cpu': serverSeconds / (LARGE / MIB / 1024),
            'push-256m-peak': await peakMiB(of(name).pid),
            'push-last': lastSeconds * 1000,
          }
        },
      },
      {
        rows: ['push-chunks'],
        servers: ALL,
        async measure(name) {
          const { seconds } = await large(bench, of(name), { chunkBytes: CHUNK })
          return { 'push-chunks': LARGE / MIB / seconds }
        },
      },
      {
        rows: ['push-small', 'push-small-cpu'],
        servers: ALL,
        async measure(name) {
          const images = bench.quick ? 60 : 120
          const { seconds, serverSeconds } = await timed(bench, of(name), {
            repository: 'local/small',
            images,
            connections: 8,
          })
          return { 'push-small': images / seconds, 'push-small-cpu': (serverSeconds / images) * 1000 }
        },
      },
      list('list-tags', '/v2/local/tags/tags/list', of, ({ tags }) => tags?.length === TAGS),
      list('list-catalog', '/v2/_catalog?n=1000', of, ({ repositories }) => repositories?.length === 1000),
    ]
    const close = async () => {
      for (const server of servers.values()) await server.stop()
    }
    return { cases, close }
  },
}

/** Each with the same repositories and tags in its storage. */
async function start(bench: Bench): Promise<Map<ServerName, Server>> {
  const folder = (name: ServerName) => join(bench.folder, 'pushes', name)
  const servers = new Map<ServerName, Server>()
  for (const name of ALL.filter(bench.wants)) {
    if (name === 'entrepot') {
      await fillEntrepot(join(folder(name), 'data'))
      servers.set(name, await startEntrepot({ folder: folder(name), node: bench.node }))
    } else {
      await fillRegistry(join(folder(name), 'storage'))
      const program = name === 'registry' ? 'docker-registry' : bench.programs.distribution
      servers.set(name, await startRegistry({ folder: folder(name), program }))
    }
  }
  // JavaScript is slow at first.
  const ours = servers.get('entrepot')!
  await bench.load.push(ours.port, { repository: 'local/first', blobBytes: 64 * MIB })
  await bench.load.push(ours.port, { repository: 'local/first', images: 100, connections: 8 })
  return servers
}

async function timed(bench: Bench, { port, pid }: Server, job: PushJob) {
  await whenIdle(pid)
  const before = await cpuSeconds(pid)
  const found = await bench.load.push(port, job)
  await whenIdle(pid)
  return { ...found, serverSeconds: (await cpuSeconds(pid)) - before }
}

async function large(bench: Bench, server: Server, job: { chunkBytes?: number }) {
  const found = await timed(bench, server, { repository: 'local/large', blobBytes: LARGE, ...job })
  const path = `/v2/local/large/blobs/${found.digest}`
  const target = { path, bytes: LARGE, sha256: found.digest.replace('sha256:', '') }
  await bench.load.get(server.port, { targets: [target], connections: 1, requests: 1, check: true })
  return found
}

interface Listed {
  tags?: unknown[]
  repositories?: unknown[]
}

function list(row: string, path: string, of: (name: ServerName) => Server, whole: (listed: Listed) => boolean): Case {
  return {
    rows: [row],
    servers: ALL,
    async measure(name) {
      const times: number[] = []
      for (let n = 0; n < REPEATS; n++) {
        const beganAt = performance.now()
        const answer = await fetch(`http://127.0.0.1:${of(name).port}${path}`)
        if (!whole((await answer.json()) as Listed)) throw new Error(`${name}: ${path} lacks some`)
        times.push(performance.now() - beganAt)
      }
      return { [row]: median(times) }
    },
  }
}
