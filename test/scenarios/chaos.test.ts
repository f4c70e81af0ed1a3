import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { ChaosClient, type Content, Lies, Random, unsettle } from '../helpers/chaos.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { type BuiltInUpstream, closeAll, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
const KIB = 1024
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000)
const SECONDS = Number(process.env.CHAOS_SECONDS ?? 8)
const CLIENTS = 12
const CACHE_BYTES = 12 * MIB
/** Circuits, refusals, quarantines, tokens and tags that last for minutes come and go within a test. */
const HASTE = 400
const SIZES = [
  ...[1, 2, 9, 100, 1001, 4096, 40_000, 65_536, 100_001, 200_000, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1],
  ...[300_000, 400_000, 600_000, MIB - 1, MIB, MIB + 1, 1.5 * MIB, 2 * MIB, 3 * MIB, 4 * MIB, 5 * MIB, 6 * MIB],
]

const random = new Random(SEED)
const failures: unknown[] = []
const onRejection = (reason: unknown) => void failures.push(reason)

afterEach(closeAll)

test(`chaos with seed ${SEED}: whatever ends cleanly is right, and nothing is left over`, {
  timeout: 60_000,
}, async () => {
  console.log(`CHAOS_SEED=${SEED}`)
  process.on('unhandledRejection', onRejection)
  const filesBefore = openFiles()
  const [near, far, hub] = await Promise.all([startUpstream(), startUpstream(), startHub()])
  const content = fill([near, far, hub])
  const mirror = await startChaosMirror(near, far, hub)
  const lies = new Lies()
  for (const upstream of [near, far]) unsettle(upstream, new Random(random.below(2 ** 32)), lies, content.steady)
  const clients = Array.from(
    { length: CLIENTS },
    () => new ChaosClient(mirror.url, new Random(random.below(2 ** 32)), content, lies),
  )

  const until = Date.now() + SECONDS * 1000
  const watching = watch(mirror, [near, far, hub], until)
  await Promise.all([...clients.map((client) => client.run(until)), comeAndGo([near, far], until)])
  const most = await watching

  const sum = (of: (client: ChaosClient) => number) => clients.reduce((total, client) => total + of(client), 0)
  console.log({
    most,
    gets: sum(({ total }) => total),
    cut: sum(({ cut }) => cut),
    unchecked: sum((c) => c.unchecked),
    lies: lies.count,
    evictions: (await mirror.stats()).cache.evictions,
  })
  expect(clients.flatMap(({ faults }) => faults)).toEqual([])
  await expect.poll(() => openFilesOf(mirror), { timeout: 5000 }).toEqual([])
  const { requests } = await mirror.stats()
  expect(requests).toEqual({
    total: sum(({ total }) => total),
    hit: sum(({ kinds }) => kinds.hit),
    join: sum(({ kinds }) => kinds.join),
    miss: sum(({ kinds }) => kinds.miss),
    stale: sum(({ kinds }) => kinds.stale),
    error: sum(({ kinds }) => kinds.error),
  })
  await expect.poll(() => bytesOf(filesOf(mirror))).toBeLessThanOrEqual(CACHE_BYTES)
  expect(most.connections).toBeLessThanOrEqual(64)
  expect(mirror.log.filter(({ level }) => (level as number) >= 50)).toEqual([])

  await mirror.close()
  await Promise.all([near, far, hub].map((upstream) => upstream.close()))
  await expect.poll(openFiles).toEqual(filesBefore)
  process.off('unhandledRejection', onRejection)
  expect(failures).toEqual([])
})

const fast = () => {
  const began = Date.now()
  return () => began + (Date.now() - began) * HASTE
}

const startHub = () => startUpstream({ auth: { kind: 'bearer', expiresInS: 600 }, now: fast() })

function startChaosMirror(near: BuiltInUpstream, far: BuiltInUpstream, hub: BuiltInUpstream): Promise<Mirror> {
  return startMirror({
    registries: {
      'docker.io': registry(
        [
          { name: 'near', url: near.url },
          { name: 'far', url: far.url },
          { name: 'hub', url: hub.url, role: 'origin' },
        ],
        { tags: { ttl: '200s' } },
      ),
    },
    settings: { storage: { maxSize: `${CACHE_BYTES}B`, memory: '1MiB' } },
    now: fast(),
  })
}

/** The same blobs and images in each. */
function fill(upstreams: BuiltInUpstream[]): Content {
  const bytes = SIZES.map((size) => random.bytes(size))
  const content: Content = { blobs: [], manifests: [], steady: new Set() }
  for (const upstream of upstreams) {
    content.blobs = bytes.map((each) => ({ digest: upstream.addBlob(each), bytes: each }))
    content.manifests = Array.from({ length: 8 }, (_, at) => {
      const layers = bytes.slice(at * 3, at * 3 + 3)
      const { manifest } = upstream.addImage('library/app', `v${at}`, { layers, docker: at % 2 === 0 })
      return { tag: `v${at}`, digest: manifest, bytes: upstream.manifest('library/app', manifest)!.bytes }
    })
  }
  return { ...content, steady: new Set(content.blobs.filter((_, at) => at % 3 === 0).map(({ digest }) => digest)) }
}

async function comeAndGo(upstreams: BuiltInUpstream[], until: number): Promise<void> {
  while (Date.now() < until - 1000) {
    await sleep(300 + random.below(700))
    const upstream = random.of(upstreams)
    await upstream.stop()
    await sleep(random.below(400))
    await upstream.start()
  }
}

/** The most that was seen at a time. */
async function watch(mirror: Mirror, upstreams: BuiltInUpstream[], until: number) {
  const most = { diskBytes: 0, connections: 0 }
  while (Date.now() < until) {
    most.diskBytes = Math.max(most.diskBytes, bytesOf(filesOf(mirror)))
    for (const upstream of upstreams) most.connections = Math.max(most.connections, await upstream.connections())
    await sleep(50)
  }
  return most
}

const bytesOf = (files: { size: number }[]) => files.reduce((sum, { size }) => sum + size, 0)

/** What the cache has on disk; synchronous, as all here, so that it is a view of one moment. */
function filesOf({ storage }: Mirror): { path: string; size: number }[] {
  const folders = ['blobs', 'fills'].filter((folder) => existsSync(join(storage, 'data', folder)))
  return folders.flatMap((folder) => {
    const names = namesIn(join(storage, 'data', folder))
    return names.flatMap((name) => {
      const path = join(storage, 'data', folder, name)
      const facts = statSync(path, { throwIfNoEntry: false })
      return facts?.isFile() ? [{ path, size: facts.size }] : []
    })
  })
}

/** Folders go while they are listed: then all over again. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
  } catch {
    return existsSync(folder) ? namesIn(folder) : []
  }
}

/** What this process holds open, by kind or path. */
function openFiles(): string[] {
  return (
    readdirSync('/proc/self/fd')
      .map(targetOf)
      // SQLite lets go of a closed database's files when its statements have been collected as garbage.
      .filter((target) => target !== '' && !target.startsWith('/proc/') && !target.includes('/index.db'))
      .map((target) => target.replace(/:?\[\d+\]$/, ''))
      .sort()
  )
}

function targetOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    // The one that listed them.
    return ''
  }
}

const openFilesOf = ({ storage }: Mirror) =>
  openFiles().filter((path) => path.startsWith(storage) && /\/(blobs|fills)\//.test(path))
