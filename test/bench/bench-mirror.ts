import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { stringify } from 'yaml'
import { ServerProcess } from '../helpers/server-process.js'

/** The built server in a folder of its own, over upstreams of which the last is the origin. */
export class BenchMirror {
  readonly url: string
  readonly #server: ServerProcess
  readonly #folder: string

  private constructor(server: ServerProcess, folder: string) {
    this.#server = server
    this.#folder = folder
    this.url = `http://${/"listen":"([^"]+)"/.exec(server.stdout)?.[1]}`
  }

  /** @param settings further keys of mirrors.yaml; `registry` goes to docker.io */
  static async start(
    urls: readonly string[],
    { registry = {}, ...settings }: { registry?: Record<string, unknown>; [key: string]: unknown } = {},
  ): Promise<BenchMirror> {
    const folder = await mkdtemp(join(tmpdir(), 'entrepot-bench-'))
    const file = join(folder, 'mirrors.yaml')
    const upstreams = urls.map((url, n) => ({
      name: `m${n}`,
      url,
      ...(n === urls.length - 1 ? { role: 'origin' } : {}),
    }))
    const config = {
      server: { listen: '127.0.0.1:0' },
      registries: { 'docker.io': { default: true, ...registry, upstreams } },
      log: { level: 'info', access: false },
      ...settings,
    }
    await writeFile(file, stringify(config))
    const server = new ServerProcess(['serve', '-c', file], { cwd: folder })
    await server.listening()
    return new BenchMirror(server, folder)
  }

  get pid(): number {
    return this.#server.pid
  }

  async stop(): Promise<void> {
    await this.#server.end()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/** @returns the digest of the body. @throws unless it is a 200 that came whole */
export async function fetchWhole(url: string): Promise<string> {
  const { statusCode, body } = await request(url)
  const hash = createHash('sha256')
  for await (const chunk of body as AsyncIterable<Buffer>) hash.update(chunk)
  if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}`)
  return `sha256:${hash.digest('hex')}`
}

export function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN
}
