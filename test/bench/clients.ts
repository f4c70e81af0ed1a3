import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../helpers/process.js'
import { Content, type Image } from './content.js'
import { PROXYING, startProxying } from './proxying.js'
import type { Figures } from './results.js'
import { type ServerName, StaticNginx } from './servers.js'
import type { Bench, Stage } from './stage.js'

const LAYERS = 5
const LAYER_BYTES = 40_000_000

/** `skopeo copy` of an image of 200 MB, which checks every digest: most of the time is its own. nginx when hot: the files themselves. */
export const clients: Stage = {
  group: 'clients',
  share: 40,
  rounds: { full: 5, quick: 2 },
  async open(bench) {
    const folder = join(bench.folder, 'clients')
    const content = new Content(join(folder, 'content'))
    const image = await content.image('latest', await content.blobs(LAYERS, LAYER_BYTES))
    const upstream = await StaticNginx.start({ folder: join(folder, 'upstream'), content })
    const measure = (name: ServerName) => copies(bench, { name, folder, upstream, image })
    return {
      cases: [{ rows: ['skopeo-cold', 'skopeo-hot'], servers: PROXYING, measure }],
      close: () => upstream.stop(),
    }
  },
}

interface Copying {
  name: ServerName
  folder: string
  upstream: StaticNginx
  image: Image
}

async function copies(bench: Bench, { name, folder, upstream, image }: Copying): Promise<Figures> {
  const place = join(folder, name)
  const server = await startProxying(bench, name, { folder: place, remote: upstream.url })
  try {
    const cold = await copy(server.port, image, place)
    const hot = await copy(name === 'nginx' ? upstream.port : server.port, image, place)
    return { 'skopeo-cold': cold, 'skopeo-hot': hot }
  } finally {
    await server.stop()
    await rm(place, { recursive: true, force: true })
  }
}

/** Seconds. */
async function copy(port: number, { tag }: Image, folder: string): Promise<number> {
  const target = join(folder, 'copied')
  const from = `docker://127.0.0.1:${port}/library/bench:${tag}`
  const beganAt = performance.now()
  await run('skopeo', ['--insecure-policy', 'copy', '--src-tls-verify=false', from, `dir:${target}`], {
    env: { HOME: folder },
  })
  const seconds = (performance.now() - beganAt) / 1000
  await rm(target, { recursive: true })
  return seconds
}
