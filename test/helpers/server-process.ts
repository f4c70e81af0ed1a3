import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { closing } from './upstream.js'

const MAIN = join(import.meta.dirname, '../../dist/main.js')

/** Makes `Date.now` tell what the parent says, as if the system's clock had been set: `setClock`. Timers go on as they were. */
const CLOCK = `
  const real = Date.now
  let offset = 0
  Date.now = () => real() + offset
  process.on('message', (ms) => { offset = ms; process.send(ms) })
  process.channel.unref()`

export interface ProcessOptions {
  cwd: string
  env?: Record<string, string>
  /** Whether `setClock` may be called. */
  clock?: boolean | undefined
  /** What it reads; default: nothing. */
  stdin?: string | undefined
  /** A file that stands in for /etc/resolv.conf; needs root. */
  resolvConf?: string | undefined
}

/** The built command as a child process. */
export class ServerProcess {
  readonly #child: ChildProcess
  stdout = ''
  stderr = ''

  constructor(args: string[], { cwd, env = {}, clock = false, resolvConf, stdin }: ProcessOptions) {
    const node = [process.execPath, ...(clock ? ['--import', `data:text/javascript,${encodeURIComponent(CLOCK)}`] : [])]
    const [command = '', ...rest] = [...seeing(resolvConf), ...node, MAIN, ...args]
    this.#child = spawn(command, rest, {
      cwd,
      env: { ...process.env, ...env },
      stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...(clock ? (['ipc'] as const) : [])],
    })
    this.#child.stdin?.on('error', () => {}).end(stdin)
    this.#child.stdout!.on('data', (chunk) => {
      this.stdout += chunk
    })
    this.#child.stderr!.on('data', (chunk) => {
      this.stderr += chunk
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** From now on its clock is so far ahead of the system's, milliseconds; negative: behind it. */
  async setClock(offsetMs: number): Promise<void> {
    const set = once(this.#child, 'message')
    this.#child.send(offsetMs)
    await set
  }

  /** Resolves when it says that it listens. @throws when it ends before that */
  async listening(): Promise<void> {
    const ended = once(this.#child, 'exit').then(() => {
      throw new Error(`it ended: ${this.stderr}`)
    })
    ended.catch(() => {})
    const listening = (async () => {
      while (!this.stdout.includes('"msg":"listening"')) await once(this.#child.stdout!, 'data')
    })()
    await Promise.race([listening, ended])
  }

  /** Sends a signal and waits for the end. @returns exit code, or the signal that ended it */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    if (this.running) this.#child.kill(signal)
    return this.ended()
  }

  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.running) await once(this.#child, 'close')
    return this.#child.exitCode ?? this.#child.signalCode
  }

  /** For `closeAll`. */
  async close(): Promise<void> {
    await this.end('SIGKILL')
  }
}

/** Starts the built command; `closeAll` ends it. */
export function startCommand(args: string[], options: ProcessOptions): ServerProcess {
  return closing(new ServerProcess(args, options))
}

/** What comes before a command that is to see another resolv.conf: a mount namespace of its own. */
function seeing(resolvConf: string | undefined): string[] {
  if (resolvConf === undefined) return []
  const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, resolvConf]
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
