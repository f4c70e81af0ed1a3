import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pool, request } from 'undici'
import type { GcReport } from '../../src/gc/report.js'
import { freePort, startCommand } from '../helpers/server-process.js'
import { closeAll } from '../helpers/upstream.js'
import { percentile } from './bench-mirror.js'
import { type MadeImage, makeStore } from './gc-store.js'

/**
 * `npm run bench:gc`: a garbage collection over 100,000 blobs and 10,000 manifests, of which every tenth was deleted. Prints how
 * long it takes, what memory, and how long manifest pulls take without it and beside it. Another size: `-- 1000`, manifests.
 */
const MANIFESTS = Number(process.argv[2] ?? 10_000)
const BLOBS_EACH = 10
const DAY_MS = 86_400_000
const PULLERS = 4
const QUIET_MS = 10_000

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-gc-'))
  try {
    const began = performance.now()
    const store = { manifests: MANIFESTS, blobsEach: BLOBS_EACH, garbageEvery: 10 }
    const images = await makeStore(join(folder, 'data'), store)
    console.log(`made ${MANIFESTS} images of ${BLOBS_EACH} blobs in ${seconds(performance.now() - began)}`)
    await measure(
      folder,
      images.filter(({ garbage }) => !garbage),
    )
  } finally {
    await closeAll()
    await rm(folder, { recursive: true, force: true })
  }
}

async function measure(folder: string, images: MadeImage[]): Promise<void> {
  const port = await freePort()
  const config = { server: { listen: `127.0.0.1:${port}` }, gc: { every: '0s' }, log: { access: false } }
  await writeFile(join(folder, 'mirrors.yaml'), JSON.stringify(config))
  const began = performance.now()
  const server = startCommand(['serve'], { cwd: folder, clock: true })
  await server.listening()
  console.log(`start without index.db: ${seconds(performance.now() - began)}`)
  await server.setClock(DAY_MS)
  const url = `http://127.0.0.1:${port}`
  const pool = new Pool(url, { connections: PULLERS })
  const before = memory(server.pid)
  print('dry run', await collect(url, true))
  const quietBegan = performance.now()
  const quiet = await pulls(pool, images, () => performance.now() - quietBegan < QUIET_MS)
  let running = true
  const collecting = collect(url, false).finally(() => {
    running = false
  })
  const beside = await pulls(pool, images, () => running)
  print('run', await collecting)
  show('  manifest pulls beside it', beside)
  show('  without', quiet)
  console.log(
    `  memory ${before.resident} MiB before, ${memory(server.pid).resident} MiB after, at most ${memory(server.pid).most} MiB`,
  )
  await pool.close()
  await server.end()
}

/** Pulls manifests by tag from all over the store as fast as they come. @returns how long each took, ms */
async function pulls(pool: Pool, images: MadeImage[], goOn: () => boolean): Promise<number[]> {
  const times: number[] = []
  let at = 0
  const one = async () => {
    while (goOn()) {
      at = (at + 7919) % images.length
      const { repository, tag } = images[at]!
      const began = performance.now()
      const { statusCode, body } = await pool.request({ method: 'GET', path: `/v2/${repository}/manifests/${tag}` })
      await body.dump()
      if (statusCode !== 200) throw new Error(`${repository}:${tag} was answered ${statusCode}`)
      times.push(performance.now() - began)
    }
  }
  await Promise.all(Array.from({ length: PULLERS }, one))
  return times
}

async function collect(url: string, dryRun: boolean): Promise<GcReport> {
  const { body } = await request(`${url}/api/v1/gc?dryRun=${dryRun}`, { method: 'POST', bodyTimeout: 0 })
  const text = await body.text()
  return JSON.parse(text.trim().split('\n').at(-1)!).report as GcReport
}

function print(what: string, { durationMs, found, freedBytes, steps }: GcReport): void {
  const times = steps.map((step) => `${step.name} ${seconds(step.durationMs)}`).join(', ')
  const taken = `${found.blob} links, ${found.content} files (${freedBytes} B)`
  console.log(`${what}: ${seconds(durationMs)}, ${taken}; ${times}`)
}

function memory(pid: number): { resident: number; most: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / 1024)
  return { resident: of('VmRSS'), most: of('VmHWM') }
}

function show(what: string, times: number[]): void {
  const ms = (share: number) => `${percentile(times, share).toFixed(2)} ms`
  console.log(`${what}: ${times.length} pulls, p50 ${ms(0.5)}, p99 ${ms(0.99)}`)
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

await main()
