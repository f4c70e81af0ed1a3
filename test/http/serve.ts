import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import pino from 'pino'
import { AccessPolicy } from '../../src/auth/access-policy.js'
import { EventBus, type Events } from '../../src/events.js'
import { type ConnectionLimits, createServer } from '../../src/http/server.js'
import { blobHandlers } from '../../src/http/v2/blobs.js'
import { referrerHandlers, tagHandlers } from '../../src/http/v2/listings.js'
import { manifestHandlers } from '../../src/http/v2/manifests.js'
import { BufferPool } from '../../src/lib/buffer-pool.js'
import { OciError } from '../../src/oci/errors.js'
import type { ContentSource } from '../../src/routing/content-source.js'

export interface ServeOptions {
  /** What `library/app` of docker.io answers from. */
  source: ContentSource
  limits?: ConnectionLimits
  access?: boolean
  anonymous?: ('pull' | 'push')[]
}

/** The server alone, on loopback, over one repository that is read through. */
export async function serve({ source, limits, access = true, anonymous }: ServeOptions) {
  const lines: Record<string, unknown>[] = []
  const told: { name: keyof Events; event: unknown }[] = []
  const failures: unknown[] = []
  const windows: (number | undefined)[] = []
  let unready: string | undefined
  const events = new EventBus({ onListenerError: (error) => failures.push(error) })
  for (const name of ['content.served', 'content.failed'] as const) {
    events.on(name, (event) => void told.push({ name, event }))
  }
  const policy = new AccessPolicy({ anonymous })
  const server = createServer({
    v2: {
      resolver: {
        nameOf: (repository) => repository,
        resolve(repository, ns) {
          if (repository.startsWith('local/')) return { kind: 'local', repository, source }
          if (repository !== 'library/app') throw new OciError('NAME_UNKNOWN', 'no such registry')
          return { kind: 'proxy', registry: 'docker.io', repository, source, namespaced: ns !== undefined }
        },
      },
      policy,
      catalog: { repositories: () => ({ repositories: ['local/a'], more: false }) },
      handlers: {
        blob: blobHandlers({ pool: new BufferPool({ sizeBytes: 64 * 1024, keep: 4 }) }),
        manifest: manifestHandlers(),
        tags: tagHandlers(),
        referrers: referrerHandlers(),
        uploads: {},
        upload: {},
      },
    },
    operations: {
      stats(windowMs) {
        windows.push(windowMs)
        return { requests: 1 }
      },
      unready: () => unready,
    },
    log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    events,
    access,
    now: () => performance.now(),
    ...(limits && { limits }),
  })
  await server.listen({ port: 0, host: '127.0.0.1' })
  const { port } = server.server.address() as AddressInfo
  lines.length = 0

  return {
    url: `http://127.0.0.1:${port}`,
    lines,
    told,
    windows,
    setUnready(reason: string | undefined) {
      unready = reason
    },
    /** Sends text as it is and reads until the other side closes. */
    async raw(text: string | Buffer): Promise<string> {
      const socket = await open(port)
      socket.write(text)
      return readToClose(socket)
    },
    open: () => open(port),
    async close() {
      server.server.closeAllConnections()
      await server.close()
    },
  }
}

export type Served = Awaited<ReturnType<typeof serve>>

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  return socket
}

/** @returns what came, one character a byte */
export async function readToClose(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  // A reset is an end as well, here.
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return Buffer.concat(chunks).toString('latin1')
}
