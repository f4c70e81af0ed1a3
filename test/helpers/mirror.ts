import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { request } from 'undici'
import { type App, buildApp } from '../../src/app.js'
import type { Config } from '../../src/config/config.js'
import { loadConfig } from '../../src/config/load.js'
import { planReload } from '../../src/config/reload.js'
import { type Digest, digestFrom, hasherFor } from '../../src/oci/digest.js'
import type { StatsDocument } from '../../src/stats/document.js'
import { closing } from './upstream.js'

export interface MirrorOptions {
  /** The `registries` of mirrors.yaml, as JSON. */
  registries: Record<string, unknown>
  /** Further top-level keys of mirrors.yaml; merged over the defaults of tests, key by key. */
  settings?: Record<string, Record<string, unknown>> | undefined
  /** An existing storage folder, to start on what an earlier mirror left. */
  storage?: string
  now?: () => number
}

/** What a client got. */
export interface Got {
  status: number
  headers: Record<string, string | string[] | undefined>
  bytes: number
  digest: Digest
  text: string
}

/** The whole product in this process on a free port: real server, real folder, real upstream connections. */
export class Mirror {
  readonly url: string
  readonly storage: string
  readonly log: Record<string, unknown>[]
  readonly #app: App
  #config: Config

  constructor(parts: {
    url: string
    storage: string
    log: Record<string, unknown>[]
    app: App
    config: Config
  }) {
    this.url = parts.url
    this.storage = parts.storage
    this.log = parts.log
    this.#app = parts.app
    this.#config = parts.config
  }

  close(): Promise<void> {
    return this.#app.close()
  }

  /** Another configuration, while it runs. */
  async reload(options: Pick<MirrorOptions, 'registries' | 'settings'>): Promise<void> {
    const { config } = planReload(this.#config, await configure(this.storage, options))
    this.#app.apply(config)
    this.#config = config
  }

  /** Reads an answer to its end; `digest` is of `algorithm`, `text` only of short bodies. */
  async get(path: string, headers: Record<string, string> = {}, method: 'GET' | 'HEAD' = 'GET'): Promise<Got> {
    const response = await request(this.url + path, { method, headers })
    const hash = hasherFor(`sha256:${'0'.repeat(64)}` as Digest)
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes < 100_000) chunks.push(chunk)
    }
    return {
      status: response.statusCode,
      headers: response.headers,
      bytes,
      digest: digestFrom(hash),
      text: Buffer.concat(chunks).toString(),
    }
  }

  head(path: string, headers: Record<string, string> = {}): Promise<Got> {
    return this.get(path, headers, 'HEAD')
  }

  blob(repository: string, digest: string, headers: Record<string, string> = {}): Promise<Got> {
    return this.get(`/v2/${repository}/blobs/${digest}`, headers)
  }

  manifest(repository: string, reference: string): Promise<Got> {
    return this.get(`/v2/${repository}/manifests/${reference}`)
  }

  async stats(query = ''): Promise<StatsDocument> {
    return JSON.parse((await this.get(`/stats${query}`)).text) as StatsDocument
  }
}

const SETTINGS = {
  server: { listen: '127.0.0.1:0' },
  storage: { maxSize: '1GiB' },
  upstream: {
    timeouts: { connect: '500ms', firstByte: '500ms', idle: '500ms' },
    firstHeaderBudget: '8s',
    revalidationBudget: '2s',
  },
  // Runs on real timers, which would fall anywhere into what a test does with a clock of its own.
  prefetch: { hotTags: false },
}

/** Starts a mirror that `closeAll` closes; its folder is removed unless it was handed in. */
export async function startMirror({ registries, settings, storage, now }: MirrorOptions): Promise<Mirror> {
  const folder = storage ?? (await mkdtemp(join(tmpdir(), 'mirror-')))
  if (!storage) closing({ close: () => rm(folder, { recursive: true, force: true }) })
  const config = await configure(folder, { registries, settings })
  const log: Record<string, unknown>[] = []
  const app = await buildApp(
    config,
    pino({ level: 'debug' }, { write: (line: string) => void log.push(JSON.parse(line)) }),
    now,
  )
  const { port } = await app.listen()
  return closing(new Mirror({ url: `http://127.0.0.1:${port}`, storage: folder, log, app, config }))
}

async function configure(
  folder: string,
  { registries, settings = {} }: Pick<MirrorOptions, 'registries' | 'settings'>,
): Promise<Config> {
  const merged: Record<string, Record<string, unknown>> = structuredClone(SETTINGS)
  for (const [key, value] of Object.entries(settings)) merged[key] = { ...merged[key], ...value }
  const file = join(folder, 'mirrors.yaml')
  await writeFile(file, JSON.stringify({ ...merged, storage: { ...merged.storage, path: './data' }, registries }))
  return loadConfig({ file, env: {}, cwd: folder }).config
}

/** A registry that asks these upstreams, in order. */
export function registry(
  upstreams: Record<string, unknown>[],
  rest: Record<string, unknown> = {},
): Record<string, unknown> {
  return { default: true, ...rest, upstreams }
}
