import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { AccessPolicy } from '../../src/auth/access-policy.js'
import { HotContent } from '../../src/cache/hot-content.js'
import { EventBus, type Events } from '../../src/events.js'
import { createServer } from '../../src/http/server.js'
import { blobWriteHandlers } from '../../src/http/v2/blob-writes.js'
import { blobHandlers } from '../../src/http/v2/blobs.js'
import { referrerHandlers, tagHandlers } from '../../src/http/v2/listings.js'
import { manifestWriteHandlers } from '../../src/http/v2/manifest-writes.js'
import { manifestHandlers } from '../../src/http/v2/manifests.js'
import { uploadHandlers } from '../../src/http/v2/uploads.js'
import { BufferPool } from '../../src/lib/buffer-pool.js'
import { BlobStore } from '../../src/metadata/blob-store.js'
import { SqlIndex } from '../../src/metadata/sql-index.js'
import { OciError } from '../../src/oci/errors.js'
import { type ImmutableTags, immutableTags } from '../../src/registry/immutable-tags.js'
import { LocalRegistry, type LocalRegistryDeps } from '../../src/registry/local-registry.js'
import { FsDriver } from '../../src/storage/fs-driver.js'

const NAMESPACES = ['local', 'team']
const MEMORY_BYTES = 8 * 1024 * 1024

/** A folder for the life of one test; the caller removes it. */
export async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), 'entrepot-'))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** The storage's parts on a folder, as `app.ts` joins them. The caller closes the index. */
export async function openStorage(folder: string, now: () => number = Date.now) {
  const dirs = { stagingDir: join(folder, 'tmp'), uploadsDir: join(folder, 'uploads') }
  for (const dir of Object.values(dirs)) await mkdir(dir, { recursive: true })
  const driver = new FsDriver({ root: folder, stagingDir: dirs.stagingDir })
  const { index } = SqlIndex.open({ file: join(folder, 'index.db'), now })
  const store = new BlobStore({ driver, index })
  return { ...dirs, driver, index, store }
}

export interface LocalServerOptions extends Partial<typeof SETTINGS> {
  now?: () => number
  immutable?: ImmutableTags[]
}

/** As in mirrors.yaml, but for the reserve, which would be the test machine's. */
const SETTINGS: Pick<LocalRegistryDeps, 'sparse' | 'minFreeBytes' | 'uploads'> = {
  sparse: 'none',
  minFreeBytes: 0,
  uploads: { expireMs: 24 * 3_600_000, perClient: 1000, chunkMinLength: 0 },
}

/** A registry that only takes pushes, on loopback, over the folder given: built again on the same one it is a restart. */
export async function startLocalServer(
  folder: string,
  { now = Date.now, immutable = [], ...settings }: LocalServerOptions = {},
) {
  const storage = await openStorage(folder, now)
  const failures: unknown[] = []
  const events = new EventBus({ onListenerError: (error) => failures.push(error) })
  const told: { name: keyof Events; event: unknown }[] = []
  for (const name of ['blob.pushed', 'manifest.pushed', 'manifest.deleted', 'tag.deleted', 'blob.deleted'] as const) {
    events.on(name, (event) => told.push({ name, event }))
  }
  const log = pino({ level: 'silent' })
  const hot = new HotContent({ memoryBytes: MEMORY_BYTES })
  const registry = new LocalRegistry({
    ...storage,
    hot,
    namespaces: NAMESPACES,
    ...SETTINGS,
    ...settings,
    isImmutable: immutableTags(immutable),
    room: { sizeBytes: 0, makeRoom: async () => false },
    events,
    log,
    now,
  })
  const policy = new AccessPolicy({ anonymous: undefined })
  const server = createServer({
    v2: {
      resolver: {
        nameOf: (repository) => repository,
        resolve(repository) {
          if (!NAMESPACES.includes(repository.split('/')[0]!)) throw new OciError('NAME_UNKNOWN', 'nothing is mirrored')
          return { kind: 'local', repository, source: registry.source(repository) }
        },
      },
      policy,
      catalog: registry,
      handlers: {
        blob: {
          ...blobHandlers({ pool: new BufferPool({ sizeBytes: 64 * 1024, keep: 4 }) }),
          ...blobWriteHandlers(registry),
        },
        manifest: { ...manifestHandlers(), ...manifestWriteHandlers(registry) },
        tags: tagHandlers(),
        referrers: referrerHandlers(),
        ...uploadHandlers(registry),
      },
    },
    operations: { stats: () => registry.totals(), unready: () => undefined },
    log,
    events,
    access: false,
    now,
  })
  await registry.start()
  await server.listen({ port: 0, host: '127.0.0.1' })
  const { port } = server.server.address() as AddressInfo

  return {
    ...storage,
    registry,
    port,
    url: `http://127.0.0.1:${port}`,
    told,
    /** Cuts every connection and lets go of the folder; nothing of an upload is written down at this moment. */
    async kill() {
      server.server.closeAllConnections()
      await server.close()
      await registry.stop()
      storage.index.close()
    },
  }
}

export type LocalServer = Awaited<ReturnType<typeof startLocalServer>>
