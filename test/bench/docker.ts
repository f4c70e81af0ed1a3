import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Dockerd } from '../clients/dockerd.js'
import { run } from '../helpers/process.js'
import { Content } from './content.js'
import { PROXYING, startProxying } from './proxying.js'
import type { Figures } from './results.js'
import { type ServerName, StaticNginx } from './servers.js'
import type { Bench, Stage } from './stage.js'

const LAYERS = 2
const LAYER_BYTES = 100_000_000

/** `docker pull` of an image of 200 MB by a daemon of its own, which unpacks it: most of the time is its own. */
export const docker: Stage = {
  group: 'clients',
  share: 50,
  rounds: { full: 2, quick: 1 },
  async open(bench) {
    const folder = join(bench.folder, 'docker')
    const content = new Content(join(folder, 'content'))
    const layers = []
    for (let n = 0; n < LAYERS; n++) layers.push(await content.layer(LAYER_BYTES))
    await content.image('latest', layers)
    const upstream = await StaticNginx.start({ folder: join(folder, 'upstream'), content })
    // Sockets and state of the machine's own daemons are not seen.
    await mkdir('/run', { recursive: true })
    await run('mount', ['-t', 'tmpfs', 'tmpfs', '/run'])
    const daemon = await Dockerd.start({ folder: join(folder, 'daemon'), mirror: '127.0.0.1:9' })
    const close = async () => {
      await daemon.stop()
      await upstream.stop()
    }
    const measure = (name: ServerName) => pulls({ bench, name, folder, upstream, daemon })
    return { cases: [{ rows: ['docker-cold', 'docker-hot'], servers: PROXYING, long: true, measure }], close }
  },
}

interface Pulling {
  bench: Bench
  name: ServerName
  folder: string
  upstream: StaticNginx
  daemon: Dockerd
}

async function pulls({ bench, name, folder, upstream, daemon }: Pulling): Promise<Figures> {
  const place = join(folder, name)
  const server = await startProxying(bench, name, { folder: place, remote: upstream.url })
  try {
    const cold = await pull(daemon, server.port)
    return { 'docker-cold': cold, 'docker-hot': await pull(daemon, name === 'nginx' ? upstream.port : server.port) }
  } finally {
    await server.stop()
    await rm(place, { recursive: true, force: true })
  }
}

/** Seconds; the daemon has nothing of the image before and after. */
async function pull(daemon: Dockerd, port: number): Promise<number> {
  // Docker takes plain HTTP from this machine by itself.
  const image = `127.0.0.1:${port}/library/bench:latest`
  const beganAt = performance.now()
  await daemon.docker('pull', '--quiet', image)
  const seconds = (performance.now() - beganAt) / 1000
  await daemon.docker('rmi', image)
  return seconds
}
