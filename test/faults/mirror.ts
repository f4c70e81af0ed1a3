import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { stringify } from 'yaml'
import type { StatsDocument } from '../../src/stats/document.js'
import { type Reading, read } from '../helpers/readers.js'
import { ServerProcess } from '../helpers/server-process.js'

export interface MirrorOptions {
  /** Where its configuration and, unless `settings.storage` says otherwise, its content lie; made if need be. */
  folder: string
  /** Of docker.io, the default registry, as in mirrors.yaml. */
  upstreams: Record<string, unknown>[]
  /** Further keys of docker.io: `tags`, `negativeTtl`. */
  registry?: Record<string, unknown>
  /** Further registries, by their names. */
  others?: Record<string, object>
  /** Further top-level keys of mirrors.yaml; merged over the defaults of these tests, key by key. */
  settings?: Record<string, Record<string, unknown>>
  env?: Record<string, string>
  /** A file that stands in for /etc/resolv.conf. */
  resolvConf?: string | undefined
}

/** Limits are short, so that faults cost tenths of a second. */
const SETTINGS = {
  server: { listen: '127.0.0.1:0' },
  storage: { path: './data', maxSize: '2GiB' },
  upstream: {
    timeouts: { connect: '500ms', firstByte: '800ms', idle: '800ms' },
    firstHeaderBudget: '8s',
    revalidationBudget: '2s',
  },
  prefetch: { hotTags: false },
  log: { level: 'info', access: true },
}

const POLL = { interval: 25, timeout: 10_000 }

/** The built server as a process of its own, on a free port of loopback. */
export class MirrorProcess {
  readonly url: string
  readonly folder: string
  readonly #process: ServerProcess
  #aheadMs = 0
  #probes = 0

  private constructor(folder: string, server: ServerProcess) {
    this.folder = folder
    this.#process = server
    this.url = `http://${linesOf(server.stdout).find(({ msg }) => msg === 'listening')?.listen}`
  }

  /** Resolves when it listens. @throws with what it printed when it ends before */
  static async start(options: MirrorOptions): Promise<MirrorProcess> {
    const { folder, env = {}, resolvConf } = options
    await mkdir(folder, { recursive: true })
    const file = join(folder, 'mirrors.yaml')
    await writeFile(file, stringify(configuration(options)))
    const server = new ServerProcess(['serve', '-c', file], { cwd: folder, env, clock: true, resolvConf })
    await server.listening()
    return new MirrorProcess(folder, server)
  }

  get pid(): number {
    return this.#process.pid
  }

  get running(): boolean {
    return this.#process.running
  }

  /** All that it printed, for messages. */
  get output(): string {
    return this.#process.stdout + this.#process.stderr
  }

  /** Its log so far, one object a line. */
  get log(): Record<string, unknown>[] {
    return linesOf(this.#process.stdout)
  }

  read(path: string, headers?: Record<string, string>, method?: 'GET' | 'HEAD'): Promise<Reading> {
    return read(this.url + path, headers, method)
  }

  async stats(): Promise<StatsDocument> {
    return JSON.parse((await this.read('/stats')).text) as StatsDocument
  }

  /** What /stats says of one upstream now. */
  async standing(name: string): Promise<StatsDocument['upstreams'][number]> {
    const { upstreams } = await this.stats()
    return upstreams.find((upstream) => upstream.name === name)!
  }

  /** Until /stats says so of an upstream. */
  async until(upstream: string, state: StatsDocument['upstreams'][number]['state'], timeout = 10_000): Promise<void> {
    const options = { ...POLL, timeout, message: upstream }
    await expect.poll(async () => (await this.standing(upstream)).state, options).toBe(state)
  }

  /**
   * Until an upstream that was left alone is asked again. Its cool-down must be over (`later`): the next request sends its
   * probe, so something that nobody has is asked for meanwhile.
   */
  async untilBack(upstream: string): Promise<void> {
    const asked = async () => {
      await this.read(`/v2/library/nothing/manifests/probe-${++this.#probes}`, {}, 'HEAD')
      return (await this.standing(upstream)).state
    }
    await expect.poll(asked, { ...POLL, message: upstream }).toBe('up')
  }

  /**
   * Lets so much time pass for it: the process's clock is set ahead, as an operator would set the system's. What holds
   * until a point in time (cool-downs, memos, TTLs) is over then; timers that run are not.
   */
  async later(ms: number): Promise<void> {
    this.#aheadMs += ms
    await this.#process.setClock(this.#aheadMs)
  }

  /** Has it read another configuration (SIGHUP), or this text in place of one. @returns what it said of that */
  async reload(wanted: MirrorOptions | string): Promise<Record<string, unknown>[]> {
    const before = this.log.length
    const text = typeof wanted === 'string' ? wanted : stringify(configuration(wanted))
    await writeFile(join(this.folder, 'mirrors.yaml'), text)
    process.kill(this.pid, 'SIGHUP')
    const said = () => this.log.slice(before)
    await expect
      .poll(() => said().map(({ msg }) => String(msg)), POLL)
      .toContainEqual(expect.stringMatching(/reloaded/))
    return said()
  }

  /** @returns exit code, or the signal that ended it */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    return this.#process.end(signal)
  }
}

function configuration({
  upstreams,
  registry = {},
  others = {},
  settings = {},
}: MirrorOptions): Record<string, unknown> {
  const merged: Record<string, Record<string, unknown>> = structuredClone(SETTINGS)
  for (const [key, value] of Object.entries(settings)) merged[key] = { ...merged[key], ...value }
  return { ...merged, registries: { 'docker.io': { default: true, ...registry, upstreams }, ...others } }
}

function linesOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .slice(0, stdout.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}
