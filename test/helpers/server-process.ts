import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { closing } from './upstream.js'

const MAIN = join(import.meta.dirname, '../../dist/main.js')

/** The built command as a child process. */
export class ServerProcess {
  readonly #child: ChildProcess
  stdout = ''
  stderr = ''

  constructor(args: string[], { cwd, env = {} }: { cwd: string; env?: Record<string, string> }) {
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
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
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal)
    }
    return this.ended()
  }

  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close')
    return this.#child.exitCode ?? this.#child.signalCode
  }

  /** For `closeAll`. */
  async close(): Promise<void> {
    await this.end('SIGKILL')
  }
}

/** Starts the built command; `closeAll` ends it. */
export function startCommand(args: string[], options: { cwd: string; env?: Record<string, string> }): ServerProcess {
  return closing(new ServerProcess(args, options))
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
