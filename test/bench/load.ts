import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { run } from '../helpers/process.js'

/** One thing to ask for, and what must come. */
export interface Target {
  path: string
  /** Of the body, which is checked; in bytes. */
  bytes: number
  /** As in `bytes=0-99`; absent: the whole. */
  range?: string
  /** Hexadecimal; for jobs that check. */
  sha256?: string
}

/** What load/get.go downloads: its `getJob` says what each means. */
export interface GetJob {
  targets: readonly Target[]
  connections: number
  method?: 'GET' | 'HEAD'
  accept?: string
  seconds?: number
  requests?: number
  bytesPerSecond?: number
  check?: boolean
  threads?: number
}

/** Milliseconds. */
export interface Spread {
  p50: number
  p99: number
  max: number
}

export interface GetResult {
  requests: number
  bytes: number
  seconds: number
  /** Of the load generator itself. */
  cpuSeconds: number
  whole: Spread
  firstByte: Spread
}

/** What load/push.go uploads: its `pushJob` says what each means. */
export interface PushJob {
  repository: string
  blobBytes?: number
  chunkBytes?: number
  images?: number
  connections?: number
}

export interface PushResult {
  seconds: number
  cpuSeconds: number
  lastSeconds: number
  digest: string
}

/** The load generator, a program of its own in `load/`: whatever is not answered as wanted is an error. */
export class Load {
  readonly #program: string

  constructor(program: string) {
    this.#program = program
  }

  get(port: number, job: GetJob): Promise<GetResult> {
    return this.#run('get', { method: 'GET', ...job, port })
  }

  push(port: number, job: PushJob): Promise<PushResult> {
    return this.#run('push', { ...job, port })
  }

  /** Downloads beside something else, until it is stopped or has all. */
  background(port: number, job: GetJob): { stop(): Promise<void> } {
    const child = spawn(this.#program, ['get'], { stdio: ['pipe', 'ignore', 'inherit'] })
    child.stdin.end(JSON.stringify({ method: 'GET', ...job, port }))
    return { stop: () => end(child) }
  }

  /** A proxy to a port of this machine whose answers together come at so many bytes a second. */
  async limit(port: number, bytesPerSecond: number): Promise<{ port: number; stop(): Promise<void> }> {
    const child = spawn(this.#program, ['limit', `127.0.0.1:${port}`, String(bytesPerSecond)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    return { port: Number(line.toString()), stop: () => end(child) }
  }

  async #run<Result>(command: string, job: object): Promise<Result> {
    const { stdout } = await run(this.#program, [command], { stdin: JSON.stringify(job), timeoutMs: 200_000 })
    return JSON.parse(stdout) as Result
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}
