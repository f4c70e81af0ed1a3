import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'

export interface ProcessOptions {
  /** The network namespace to run in; absent: the harness's own. */
  netns?: string | undefined
  env?: Record<string, string> | undefined
  cwd?: string | undefined
}

export interface Finished {
  code: number
  stdout: string
  /** Both streams, for messages and for what clients print to either. */
  output: string
}

/** Runs a program to its end, whatever its exit code; killed after `timeoutMs` (default 120 s), which is an error. */
export async function attempt(
  command: string,
  args: string[],
  options: ProcessOptions & { timeoutMs?: number; stdin?: string } = {},
): Promise<Finished> {
  const { timeoutMs = 120_000, stdin } = options
  const child = spawn(...commandLine(command, args, options), {
    ...spawnOptions(options),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const out: Buffer[] = []
  const both: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => void out.push(chunk))
  child.stdout.on('data', (chunk: Buffer) => void both.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => void both.push(chunk))
  child.stdin.on('error', () => child.stdin.destroy())
  child.stdin.end(stdin ?? '')
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  clearTimeout(timer)
  const output = Buffer.concat(both).toString()
  if (code === null) throw new Error(`${command} ${args.join(' ')}: ended by ${signal}\n${tail(output)}`)
  return { code, stdout: Buffer.concat(out).toString(), output }
}

/** Like `attempt`, but an exit code other than 0 is an error with the program's last lines. */
export async function run(...params: Parameters<typeof attempt>): Promise<Finished> {
  const finished = await attempt(...params)
  if (finished.code === 0) return finished
  throw new Error(`${params[0]} ${params[1].join(' ')}: exit code ${finished.code}\n${tail(finished.output)}`)
}

/** A daemon: what it writes goes to `logFile`; the owner ends it with `stop` or `kill`. */
export class Daemon {
  readonly pid: number
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
  readonly #logFile: string
  #running = true

  private constructor(pid: number, logFile: string, ended: Promise<number | string>) {
    this.pid = pid
    this.#logFile = logFile
    this.ended = ended.finally(() => {
      this.#running = false
    })
  }

  static start(command: string, args: string[], options: ProcessOptions & { logFile: string }): Daemon {
    const log = openSync(options.logFile, 'a')
    const child = spawn(...commandLine(command, args, options), {
      ...spawnOptions(options),
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    if (child.pid === undefined) throw new Error(`${command} did not start`)
    const ended = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
    return new Daemon(child.pid, options.logFile, ended)
  }

  get running(): boolean {
    return this.#running
  }

  log(): string {
    return readFileSync(this.#logFile, 'utf8')
  }

  /** Polls `ready` until it is true. @throws when the process ends first, or after `timeoutMs` */
  async until(ready: () => Promise<boolean>, timeoutMs = 30_000): Promise<void> {
    const deadline = Date.now() + timeoutMs
    while (!(await ready())) {
      if (!this.#running) throw new Error(`ended before it was ready:\n${tail(this.log())}`)
      if (Date.now() > deadline) throw new Error(`not ready after ${timeoutMs} ms:\n${tail(this.log())}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Asks it to end and waits; SIGKILL after 20 s. */
  async stop(): Promise<number | string> {
    this.kill('SIGTERM')
    const timer = setTimeout(() => this.kill('SIGKILL'), 20_000)
    const how = await this.ended
    clearTimeout(timer)
    return how
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#running) process.kill(this.pid, signal)
  }
}

/** The last `lines` of a text. */
export function tail(text: string, lines = 25): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}

/**
 * `nsenter` becomes the program, so that the pid is the program's own. (`ip netns exec` would mount a fresh /sys,
 * without the control groups that dockerd needs.)
 */
function commandLine(command: string, args: string[], { netns }: ProcessOptions): [string, string[]] {
  return netns ? ['nsenter', [`--net=/run/netns/${netns}`, '--', command, ...args]] : [command, args]
}

function spawnOptions({ env, cwd }: ProcessOptions) {
  return { env: { ...process.env, ...env }, ...(cwd ? { cwd } : {}) }
}
