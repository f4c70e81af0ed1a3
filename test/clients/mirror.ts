import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { Daemon } from '../helpers/process.js'
import { answers } from '../helpers/registry-upstream.js'
import { WORLD } from './world.js'

const PORT = 5000
const ENTRY = join(import.meta.dirname, '../../dist/main.js')

interface UpstreamEntry {
  name: string
  url: string
  role?: 'origin'
}

interface RegistryEntry {
  upstreams: UpstreamEntry[]
  tags?: Record<string, unknown>
  negativeTtl?: string
  attach?: boolean
}

export interface MirrorOptions {
  folder: string
  /** Where its content lies; default `data` in `folder`. */
  storage?: string
  /** Registry to its upstreams in order; `docker.io` is the default one. */
  registries: Record<string, RegistryEntry>
  maxSize?: string
  /** Who may do what; default: everybody everything. */
  auth?: Record<string, unknown>
  /** Merged over the limits below, which are short so that faults cost seconds. */
  timeouts?: Record<string, string>
}

export const HOST = `${WORLD.mirror.address}:${PORT}`

/** The built server, in its own network namespace. */
export class Mirror {
  readonly url = `http://${HOST}`
  readonly daemon: Daemon

  private constructor(daemon: Daemon) {
    this.daemon = daemon
  }

  static async start(options: MirrorOptions): Promise<Mirror> {
    const mirror = new Mirror(await launch(options))
    await mirror.daemon.until(() => answers(`${mirror.url}/healthz`))
    return mirror
  }

  /** Bytes of memory that were resident at most. */
  get peakMemory(): number {
    const status = readFileSync(`/proc/${this.daemon.pid}/status`, 'utf8')
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
  }

  /** @returns the exit code */
  stop(): Promise<number | string> {
    return this.daemon.stop()
  }

  async kill(): Promise<void> {
    this.daemon.kill('SIGKILL')
    await this.daemon.ended
  }
}

/** Starts the server without waiting for anything: for those that are to fail. */
export async function launch(options: MirrorOptions): Promise<Daemon> {
  await mkdir(options.folder, { recursive: true })
  const file = join(options.folder, 'mirrors.yaml')
  await writeFile(file, stringify(configuration(options)))
  return Daemon.start(process.execPath, [ENTRY, 'serve', '-c', file], {
    netns: WORLD.mirror.netns,
    cwd: options.folder,
    logFile: join(options.folder, 'mirror.log'),
  })
}

function configuration({ folder, storage, registries, maxSize = '20GiB', timeouts, auth }: MirrorOptions) {
  const [first = ''] = Object.keys(registries)
  return {
    server: { listen: `0.0.0.0:${PORT}` },
    storage: { path: storage ?? join(folder, 'data'), maxSize },
    registries: { ...registries, [first]: { ...registries[first], default: true } },
    upstream: { timeouts: { connect: '2s', firstByte: '5s', idle: '2s', ...timeouts } },
    local: { namespaces: ['local'] },
    auth: auth ?? { anonymous: ['pull', 'push', 'delete'] },
    log: { level: 'info', access: true },
  }
}
