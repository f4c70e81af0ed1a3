import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { Content, type Image, type Item, MIB } from './content.js'
import type { Figures } from './results.js'
import { type Server, StaticNginx, startEntrepot } from './servers.js'
import type { Bench, Stage } from './stage.js'

const SECONDS = 1.5

interface BusyContent {
  hot: Item[]
  cold: Item[]
  image: Image
}

/** The event loop under everything at once: 8 downloads of what is cached, 2 fills, 64 connections that ask for a manifest. */
export const busy: Stage = {
  group: 'busy',
  share: 15,
  rounds: { full: 5, quick: 2 },
  async open(bench) {
    const folder = join(bench.folder, 'busy')
    const files = new Content(join(folder, 'content'))
    const [hot, cold] = [await files.blobs(2, 64 * MIB), await files.blobs(2, 256 * MIB)]
    const image = await files.image('latest', await files.blobs(9, 4096))
    const upstream = await StaticNginx.start({ folder: join(folder, 'upstream'), content: files })
    const measure = () => delays(bench, { hot, cold, image }, upstream)
    return { cases: [{ rows: ['loop-p99', 'loop-max'], servers: ['entrepot'], measure }], close: () => upstream.stop() }
  },
}

async function delays(bench: Bench, { hot, cold, image }: BusyContent, upstream: StaticNginx): Promise<Figures> {
  const folder = join(bench.folder, 'busy', 'entrepot')
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'delay.json')
  const node = [...bench.node, '--import', `data:text/javascript,${encodeURIComponent(monitor(file))}`]
  const server = await startEntrepot({ folder, upstreams: [upstream.url], node })
  const { port } = server
  const manifest = { targets: [image.byTag], connections: 64, accept: MEDIA_TYPES.ociManifest }
  try {
    await bench.load.get(port, { targets: hot, connections: 2, threads: 2, requests: 4, check: true })
    await bench.load.get(port, { ...manifest, seconds: 0.5 })
    await delay(server, file)
    await Promise.all([
      bench.load.get(port, { targets: hot, connections: 8, threads: 2, seconds: SECONDS }),
      bench.load.get(port, { targets: cold, connections: 2, requests: 2, check: true }),
      bench.load.get(port, { ...manifest, seconds: SECONDS }),
    ])
    const { p99, max } = await delay(server, file)
    return { 'loop-p99': p99, 'loop-max': max }
  } finally {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Runs in the server's process: at SIGUSR2 it writes how late the event loop was since the last time, milliseconds. */
const monitor = (file: string) => `
  import { renameSync, writeFileSync } from 'node:fs'
  import { monitorEventLoopDelay } from 'node:perf_hooks'
  import { isMainThread } from 'node:worker_threads'
  if (isMainThread) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    process.on('SIGUSR2', () => {
      writeFileSync(${JSON.stringify(`${file}.new`)}, JSON.stringify({ p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 }))
      renameSync(${JSON.stringify(`${file}.new`)}, ${JSON.stringify(file)})
      delay.reset()
    })
  }`

async function delay({ pid }: Server, file: string): Promise<{ p99: number; max: number }> {
  await rm(file, { force: true })
  process.kill(pid, 'SIGUSR2')
  for (let tries = 0; !existsSync(file); tries++) {
    if (tries > 1000) throw new Error('the event loop does not answer for 10 s')
    await sleep(10)
  }
  return JSON.parse(await readFile(file, 'utf8')) as { p99: number; max: number }
}
