import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pLimit from 'p-limit'
import { Pool } from 'undici'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { RegistryUpstream } from '../helpers/registry-upstream.js'
import { BenchMirror, percentile } from './bench-mirror.js'
import { cpuSeconds, forgetPeak, peakMiB } from './process-tree.js'

/**
 * `npm run bench:push`: the registry half against Debian's docker-registry (2.8), the two in turn in one run, medians as
 * ratios: above 1 we are better. Traffic goes to loopback alone; it takes some minutes and 12 GiB of disk. RUNS, LARGE_MIB and
 * ONLY (a pattern of large, chunks, small, lists, huge) make it shorter.
 */
const MIB = 1024 * 1024
const RUNS = Number(process.env.RUNS ?? 5)
const BLOCK = randomBytes(MIB)
const LARGE_MIB = Number(process.env.LARGE_MIB ?? 1024)
const CHUNK_MIB = 8
const HUGE_MIB = 4096
const IMAGES = 200
const AT_ONCE = 8
const TAGS = 10_000
const REPOSITORIES = 2_000
const REPEATS = 20
const ONLY = new RegExp(process.env.ONLY ?? '')

interface Registry {
  name: 'entrepot' | 'docker-registry'
  pid: number
  pool: Pool
  stop(): Promise<void>
}

/** One figure of one registry in one run; larger or smaller is better by its name. */
type Figures = Record<string, number>

const MORE_IS_BETTER = /MB\/s|images\/s/

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-bench-'))
  const figures = { entrepot: new Map<string, number[]>(), 'docker-registry': new Map<string, number[]>() }
  const note = (registry: Registry, found: Figures) => {
    for (const [name, value] of Object.entries(found)) {
      const all = figures[registry.name]
      all.set(name, [...(all.get(name) ?? []), value])
    }
  }
  const registries = [await startOurs(), await startTheirs(folder)]
  try {
    for (let run = 0; run < RUNS; run++) {
      for (const [row, push] of ROWS) {
        if (!ONLY.test(row)) continue
        for (const registry of turned(registries, run)) note(registry, await push(registry, run))
      }
    }
    if (ONLY.test('lists')) {
      for (const registry of registries) await fill(registry)
      for (let run = 0; run < RUNS; run++) {
        for (const registry of turned(registries, run)) note(registry, await list(registry))
      }
    }
    const [ours] = registries
    if (ONLY.test('huge')) {
      const { lastSeconds } = await pushBlob(ours!, 'local/huge', { mib: HUGE_MIB, salt: 'huge' })
      note(ours!, { 'last PUT of 4 GiB, s': lastSeconds })
    }
  } finally {
    for (const registry of registries) await registry.stop()
    await rm(folder, { recursive: true, force: true })
  }
  for (const [name, values] of figures.entrepot) print(name, values, figures['docker-registry'].get(name))
}

function print(name: string, ours: readonly number[], theirs: readonly number[] | undefined): void {
  const us = percentile(ours, 0.5)
  if (!theirs) return void console.log(`${name}: ${us.toFixed(3)}`)
  const them = percentile(theirs, 0.5)
  const ratio = MORE_IS_BETTER.test(name) ? us / them : them / us
  console.log(`${name}: entrepot ${us.toFixed(2)}, docker-registry ${them.toFixed(2)}: ${ratio.toFixed(2)} x as good`)
}

function turned<Item>(items: readonly Item[], run: number): Item[] {
  return run % 2 === 0 ? [...items] : [...items].reverse()
}

async function startOurs(): Promise<Registry> {
  const mirror = await BenchMirror.start(['http://127.0.0.1:9'])
  return { name: 'entrepot', pid: mirror.pid, pool: poolOf(mirror.url), stop: () => mirror.stop() }
}

async function startTheirs(folder: string): Promise<Registry> {
  const storage = join(folder, 'theirs')
  const upstream = await RegistryUpstream.start({ name: 'peer', folder, storage, address: '127.0.0.1' })
  return { name: 'docker-registry', pid: upstream.pid, pool: poolOf(upstream.url), stop: () => upstream.stop() }
}

const poolOf = (url: string) => new Pool(url, { connections: AT_ONCE, headersTimeout: 120_000 })

async function pushLarge(registry: Registry, run: number): Promise<Figures> {
  return measured(registry, `push of ${LARGE_MIB} MiB`, { mib: LARGE_MIB, salt: `run ${run}` })
}

async function pushChunks(registry: Registry, run: number): Promise<Figures> {
  const blob = { mib: LARGE_MIB, salt: `chunks ${run}`, chunkMib: CHUNK_MIB }
  return measured(registry, `push of ${LARGE_MIB} MiB in chunks of ${CHUNK_MIB}`, blob)
}

async function measured(registry: Registry, name: string, blob: Blob): Promise<Figures> {
  await forgetPeak(registry.pid)
  const cpuBefore = await cpuSeconds(registry.pid)
  const { seconds, lastSeconds } = await pushBlob(registry, 'local/large', blob)
  return {
    [`${name}, MB/s`]: (blob.mib * MIB) / 1e6 / seconds,
    [`${name}, last PUT, s`]: lastSeconds,
    [`${name}, CPU s`]: (await cpuSeconds(registry.pid)) - cpuBefore,
    [`${name}, peak MiB`]: await peakMiB(registry.pid),
  }
}

interface Blob {
  mib: number
  /** Makes it another one. */
  salt: string
  /** Left out: one streamed PATCH, as docker does it. */
  chunkMib?: number
}

/** POST, PATCH, PUT. */
async function pushBlob(registry: Registry, repository: string, { mib, salt, chunkMib }: Blob) {
  const first = Buffer.concat([Buffer.from(salt), BLOCK]).subarray(0, MIB)
  const hash = createHash('sha256').update(first)
  for (let n = 1; n < mib; n++) hash.update(BLOCK)
  const digest = `sha256:${hash.digest('hex')}`
  async function* body(from: number, to: number) {
    for (let n = from; n < to; n++) yield n === 0 ? first : BLOCK
  }
  const beganAt = performance.now()
  let location = await begin(registry, repository)
  for (let at = 0; at < mib; at += chunkMib ?? mib) {
    const end = Math.min(mib, at + (chunkMib ?? mib))
    const range = { 'content-range': `${at * MIB}-${end * MIB - 1}`, 'content-length': String((end - at) * MIB) }
    const headers = { 'content-type': 'application/octet-stream', ...(chunkMib ? range : {}) }
    location = (await send(registry, 'PATCH', location, body(at, end), headers)).location
  }
  const lastAt = performance.now()
  await send(registry, 'PUT', withDigest(location, digest))
  const endedAt = performance.now()
  return { seconds: (endedAt - beganAt) / 1000, lastSeconds: (endedAt - lastAt) / 1000 }
}

async function pushSmall(registry: Registry, run: number): Promise<Figures> {
  const limit = pLimit(AT_ONCE)
  const cpuBefore = await cpuSeconds(registry.pid)
  const beganAt = performance.now()
  await Promise.all(
    Array.from({ length: IMAGES }, (_, n) => limit(() => pushImage(registry, `local/small-${n % 20}`, `r${run}-${n}`))),
  )
  const seconds = (performance.now() - beganAt) / 1000
  return {
    '200 small images, images/s': IMAGES / seconds,
    '200 small images, CPU s': (await cpuSeconds(registry.pid)) - cpuBefore,
  }
}

/** A config and two layers of its own, each asked for first, as clients do, and the manifest. */
async function pushImage(registry: Registry, repository: string, tag: string): Promise<void> {
  const contents = [Buffer.from(`{"made":"${tag}"}`), ...[1, 2].map((n) => Buffer.from(`${tag} ${n} `.repeat(100)))]
  for (const content of contents) await pushContent(registry, repository, content)
  await putManifest(registry, repository, tag, manifestOf(contents))
}

async function pushContent(registry: Registry, repository: string, content: Buffer): Promise<void> {
  const digest = digestOf(content)
  await send(registry, 'HEAD', `/v2/${repository}/blobs/${digest}`, undefined, {}, [200, 404])
  const patched = await send(registry, 'PATCH', await begin(registry, repository), content)
  await send(registry, 'PUT', withDigest(patched.location, digest))
}

function manifestOf(contents: readonly Buffer[]): Buffer {
  const described = contents.map((content, at) => ({
    mediaType: at === 0 ? 'application/vnd.oci.image.config.v1+json' : 'application/vnd.oci.image.layer.v1.tar',
    digest: digestOf(content),
    size: content.length,
  }))
  const [config, ...layers] = described
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers }))
}

async function putManifest(registry: Registry, repository: string, tag: string, manifest: Buffer): Promise<void> {
  const headers = { 'content-type': MEDIA_TYPES.ociManifest }
  await send(registry, 'PUT', `/v2/${repository}/manifests/${tag}`, manifest, headers)
}

/** One repository with many tags, and many repositories with one. */
async function fill(registry: Registry): Promise<void> {
  const limit = pLimit(AT_ONCE)
  const contents = [Buffer.from('{}'), Buffer.from('layer')]
  const manifest = manifestOf(contents)
  const image = async (repository: string, tags: readonly string[]) => {
    for (const content of contents) await pushContent(registry, repository, content)
    await Promise.all(tags.map((tag) => limit(() => putManifest(registry, repository, tag, manifest))))
  }
  await image(
    'local/tags',
    Array.from({ length: TAGS }, (_, n) => `v${n}`),
  )
  const names = Array.from({ length: REPOSITORIES }, (_, n) => `local/team-${n % 20}/app-${n}`)
  const few = pLimit(AT_ONCE)
  await Promise.all(names.map((name) => few(() => image(name, ['latest']))))
}

async function list(registry: Registry): Promise<Figures> {
  const tags = await timed(async () => {
    const { text } = await send(registry, 'GET', '/v2/local/tags/tags/list')
    if (JSON.parse(text).tags.length !== TAGS) throw new Error('tags are missing')
  })
  const catalog = await timed(async () => {
    const { text } = await send(registry, 'GET', '/v2/_catalog?n=1000')
    if (JSON.parse(text).repositories.length !== 1000) throw new Error('repositories are missing')
  })
  return { 'list of 10,000 tags, ms': tags, 'catalog page of 1,000, ms': catalog }
}

/** Median of some, milliseconds. */
async function timed(work: () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < REPEATS; n++) {
    const beganAt = performance.now()
    await work()
    times.push(performance.now() - beganAt)
  }
  return percentile(times, 0.5)
}

async function begin(registry: Registry, repository: string): Promise<string> {
  return (await send(registry, 'POST', `/v2/${repository}/blobs/uploads/`)).location
}

function withDigest(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
}

/** @throws unless it is answered as wanted */
async function send(
  { pool, name }: Registry,
  method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT',
  path: string,
  body?: Buffer | AsyncIterable<Buffer>,
  headers: Record<string, string> = {},
  wanted: readonly number[] = [200, 201, 202],
): Promise<{ location: string; text: string }> {
  const answer = await pool.request({ method, path, headers, body: (body ?? null) as Buffer | null })
  const text = await answer.body.text()
  if (!wanted.includes(answer.statusCode)) throw new Error(`${name}: ${method} ${path}: ${answer.statusCode} ${text}`)
  return { location: String(answer.headers.location ?? ''), text }
}

const ROWS = [
  ['large', pushLarge],
  ['chunks', pushChunks],
  ['small', pushSmall],
] as const

await main()
