import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { Daemon, tail } from '../helpers/process.js'
import { freePort } from '../helpers/server-process.js'
import type { Content } from './content.js'

/** The built server first, then who it is measured against; `nginx` is the limit: static files when hot, proxy_cache when cold. */
export type ServerName = 'entrepot' | 'proxy' | 'registry' | 'distribution' | 'nginx'

/** One running server of a bench; who starts it stops it. */
export interface Server {
  readonly port: number
  readonly pid: number
  /** From its exec to the first answer with status 200, milliseconds. */
  readonly startedMs: number
  stop(): Promise<void>
}

interface Place {
  /** All that it writes is below it, its log included. */
  folder: string
}

const MAIN = join(import.meta.dirname, '../../dist/main.js')

export interface EntrepotOptions extends Place {
  /** In order; the last one is the origin. Absent: an address at which nobody listens. */
  upstreams?: readonly string[]
  /** Further keys of mirrors.yaml, for rows that are about them. */
  settings?: object
  /** Arguments of Node itself. */
  node?: readonly string[]
  env?: Record<string, string>
}

/** As `npm start` starts it, in its default configuration but for address, storage and upstreams: with its request log. */
export async function startEntrepot(options: EntrepotOptions): Promise<Server> {
  const { folder, upstreams = ['http://127.0.0.1:9'], settings, node = [], env = {} } = options
  const port = await freePort()
  const list = upstreams.map((url, n) => ({
    name: `m${n}`,
    url,
    ...(n === upstreams.length - 1 && { role: 'origin' }),
  }))
  const config = {
    server: { listen: `127.0.0.1:${port}` },
    storage: { path: join(folder, 'data') },
    registries: { 'docker.io': { upstreams: list } },
    ...settings,
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'mirrors.yaml'), stringify(config))
  return start({ folder, port, command: [process.execPath, ...node, MAIN, 'serve'], env })
}

export interface RegistryOptions extends Place {
  /** `docker-registry`, or distribution. */
  program: string
  /** Its upstream; absent: a plain registry. */
  remote?: string
  /** Default: `storage` in `folder`. */
  storage?: string
}

/** docker-registry or its successor, as Debian configures it but for address, storage and authentication. */
export async function startRegistry({ folder, program, remote, storage }: RegistryOptions): Promise<Server> {
  const port = await freePort()
  const config = {
    version: 0.1,
    log: { fields: { service: 'registry' } },
    storage: {
      cache: { blobdescriptor: 'inmemory' },
      filesystem: { rootdirectory: storage ?? join(folder, 'storage') },
      delete: { enabled: true },
    },
    http: { addr: `127.0.0.1:${port}`, headers: { 'X-Content-Type-Options': ['nosniff'] } },
    ...(remote && { proxy: { remoteurl: remote } }),
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.yml'), stringify(config))
  // Version 3 sends traces to a collector that is not there, unless it is told not to.
  const env = { OTEL_TRACES_EXPORTER: 'none' }
  return start({ folder, port, command: [program, 'serve', join(folder, 'config.yml')], env })
}

/** nginx that serves the content's files, with the digests of its manifests. */
export class StaticNginx implements Server {
  readonly port: number
  readonly pid: number
  readonly startedMs: number
  readonly stop: () => Promise<void>
  readonly #log: string

  private constructor({ port, pid, startedMs, stop }: Server, log: string) {
    this.port = port
    this.pid = pid
    this.startedMs = startedMs
    this.stop = stop
    this.#log = log
  }

  /** @param counting whether it logs what it sends, for `bytesSent` */
  static async start({ folder, content, counting = false }: Place & { content: Content; counting?: boolean }) {
    const log = join(folder, 'sent.log')
    const digests = [...content.manifests].map(([path, digest]) => `${path} ${digest};`)
    const server = await startNginx(
      folder,
      (port) => `
        map_hash_bucket_size 256; map $uri $digest { default ""; ${digests.join('\n')} }
        log_format sent '$body_bytes_sent';
        server {
          listen 127.0.0.1:${port} backlog=4096;
          root ${content.root};
          access_log ${counting ? `${log} sent` : 'off'};
          location = /v2/ { return 200; }
          location / { default_type application/octet-stream; }
          location ~ /manifests/ {
            default_type application/vnd.oci.image.manifest.v1+json;
            add_header Docker-Content-Digest $digest;
          }
        }`,
    )
    return new StaticNginx(server, log)
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Bytes of bodies that it has sent: of answers that have ended. */
  async bytesSent(): Promise<number> {
    const lines = (await readFile(this.#log, 'utf8')).split('\n')
    return lines.reduce((sum, line) => sum + Number(line), 0)
  }
}

/** nginx with a cache on disk in front of an upstream; it hashes nothing. */
export function startNginxCache({ folder, remote }: Place & { remote: string }): Promise<Server> {
  return startNginx(
    folder,
    (port) => `
      proxy_cache_path ${folder}/cache levels=1:2 keys_zone=cache:10m max_size=50g inactive=1d use_temp_path=off;
      upstream remote { server ${remote.replace('http://', '')}; keepalive 32; }
      server {
        listen 127.0.0.1:${port} backlog=4096;
        access_log off;
        location = /v2/ { return 200; }
        location / {
          proxy_pass http://remote;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_cache cache;
          proxy_cache_valid 200 1d;
          proxy_cache_lock on;
          proxy_cache_lock_age 60s;
          proxy_cache_lock_timeout 60s;
        }
      }`,
  )
}

async function startNginx(folder: string, http: (port: number) => string): Promise<Server> {
  const port = await freePort()
  await mkdir(join(folder, 'temp'), { recursive: true })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/temp/${kind};`,
  )
  await writeFile(
    join(folder, 'nginx.conf'),
    `user root; daemon off; worker_processes 2; pid ${folder}/pid; error_log ${folder}/error.log;
     events { worker_connections 4096; }
     http {
       sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=10000;
       ${temporary.join(' ')}
       ${http(port)}
     }`,
  )
  return start({ folder, port, command: ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf')], env: {} })
}

async function start({
  folder,
  port,
  command: [program = '', ...args],
  env,
}: Place & { port: number; command: string[]; env: Record<string, string> }): Promise<Server> {
  const beganAt = performance.now()
  const daemon = Daemon.start(program, args, { cwd: folder, env, logFile: join(folder, 'server.log') })
  await firstAnswer(daemon, port)
  const startedMs = performance.now() - beganAt
  const stop = async () => {
    await daemon.stop()
  }
  return { port, pid: daemon.pid, startedMs, stop }
}

/** @throws when it ends before it answers, or does not answer within 30 seconds */
async function firstAnswer(daemon: Daemon, port: number): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await answersWell(port))) {
    if (!daemon.running) throw new Error(`a server of the bench ended at once:\n${tail(daemon.log())}`)
    if (performance.now() > deadline) throw new Error(`a server of the bench does not answer:\n${tail(daemon.log())}`)
    await sleep(1)
  }
}

/** Over a bare socket, so that asking again and again costs the server that is starting little. */
function answersWell(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => void socket.write('GET /v2/ HTTP/1.1\r\nHost: bench\r\n\r\n'))
    socket.on('data', (head) => {
      resolve(head.subarray(0, 12).toString().endsWith(' 200'))
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
    socket.on('close', () => resolve(false))
  })
}
