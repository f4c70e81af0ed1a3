import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type App, buildApp } from '../app.js'
import { loadConfig } from '../config/load.js'
import { printBytes } from '../lib/units.js'
import { digestOf } from '../oci/digest.js'
import { type BuiltInUpstream, startUpstream } from './built-in-upstream.js'
import { CheckError, type Pulled, RegistryCheck } from './client.js'
import type { Plan } from './plan.js'

const MIB = 1024 * 1024
const REPOSITORY = 'library/doctor'
const JOINED_CLIENTS = 8
/** Just too small for several streams, of which a slow machine may break one off and ask for some bytes again. */
const JOINED_BYTES = 15 * MIB

/** The parts that the steps work on. */
interface Bench {
  upstream: BuiltInUpstream
  app: App
  client: RegistryCheck
  folder: string
}

/** The real server between a client and an upstream with faults on demand, all in this process. */
export async function ownSteps(): Promise<Plan> {
  const bench = await setUp()
  const { client, upstream } = bench
  const small = upstream.addImage(REPOSITORY, 'latest', { layers: [3 * MIB, 64 * 1024] })
  const joined = upstream.addBlob(JOINED_BYTES)
  const cut = upstream.addBlob(8 * MIB)
  const ranged = randomBytes(8 * MIB)
  const pushed = randomBytes(2 * MIB)

  return {
    close: () => tearDown(bench),
    steps: [
      { name: 'cold pull', run: () => counted(upstream, (count) => pulled(client, small, count, 'miss')) },
      { name: 'warm pull', run: () => counted(upstream, (count) => pulled(client, small, count, 'hit')) },
      {
        name: `joined pull, ${JOINED_CLIENTS} clients`,
        run: () =>
          counted(upstream, async (count) => {
            upstream.bytesPerSecond = 32 * MIB
            const bodies = await Promise.all(
              Array.from({ length: JOINED_CLIENTS }, () => client.blob(REPOSITORY, joined)),
            )
            upstream.bytesPerSecond = undefined
            if (count() !== JOINED_BYTES)
              throw new CheckError(`the upstream sent ${count()} bytes for one blob of ${JOINED_BYTES}`)
            const slowest = Math.max(...bodies.map(({ firstByteMs }) => firstByteMs))
            return `${seen(count(), slowest)} at the latest, ${joined}`
          }),
      },
      {
        name: 'pull cut in the middle',
        run: () =>
          counted(upstream, async (count) => {
            upstream.fault = ({ range }) => (range === undefined ? { kind: 'cut', after: 3 * MIB } : undefined)
            const { firstByteMs } = await client.blob(REPOSITORY, cut)
            upstream.fault = undefined
            const resumed = upstream.requests.at(-1)?.range
            if (!resumed) throw new CheckError('the download was not continued with a range')
            return `${seen(count(), firstByteMs)}, continued with ${resumed}, ${cut}`
          }),
      },
      {
        name: 'ranged pull',
        run: () =>
          counted(upstream, async (count) => {
            const digest = upstream.addBlob(ranged)
            const part = ranged.subarray(5 * MIB, 5 * MIB + 1000)
            const body = await client.read(`/v2/${REPOSITORY}/blobs/${digest}`, digest, {
              range: `bytes=${5 * MIB}-${5 * MIB + 999}`,
            })
            if (body.status !== 206 || body.digest !== digestOf(part))
              throw new CheckError(`status ${body.status}, ${body.bytes} bytes, ${body.digest}`)
            return `${seen(count(), body.firstByteMs)}, ${body.headers['content-range']}, ${body.digest}`
          }),
      },
      {
        name: 'offline pull',
        run: async () => {
          await upstream.stop()
          return counted(upstream, (count) => pulled(client, small, count, 'hit'))
        },
      },
      {
        name: 'push and pull back',
        run: async () => {
          const { manifest } = await client.push('local/doctor', 'latest', pushed)
          const back = await client.pull('local/doctor', 'latest')
          if (back.manifest !== manifest) throw new CheckError(`pushed ${manifest}, got ${back.manifest} back`)
          return `0 B from upstream, first byte ${Math.round(back.firstByteMs)} ms, ${manifest}`
        },
      },
    ],
  }
}

async function pulled(
  client: RegistryCheck,
  image: { manifest: string },
  count: () => number,
  outcome: string,
): Promise<string> {
  const pull = await client.pull(REPOSITORY, 'latest')
  if (pull.manifest !== image.manifest)
    throw new CheckError(`the tag is ${pull.manifest} here and ${image.manifest} upstream`)
  checkOutcomes(pull, outcome)
  const wanted = outcome === 'miss' ? pull.bytes : 0
  if (count() !== wanted) throw new CheckError(`${count()} bytes came from the upstream instead of ${wanted}`)
  return `${seen(count(), pull.firstByteMs)}, ${pull.manifest}`
}

function checkOutcomes({ outcomes }: Pulled, wanted: string): void {
  if (outcomes.some((outcome) => outcome !== wanted))
    throw new CheckError(`the blobs were answered ${outcomes.join(', ')} instead of ${wanted}`)
}

/** Gives `run` a counter of what the upstream has sent since. */
function counted(upstream: BuiltInUpstream, run: (count: () => number) => Promise<string>): Promise<string> {
  const before = upstream.contentBytesSent
  return run(() => upstream.contentBytesSent - before)
}

function seen(upstreamBytes: number, firstByteMs: number): string {
  return `${printBytes(upstreamBytes)} from upstream, first byte ${Math.round(firstByteMs)} ms`
}

async function setUp(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-doctor-'))
  const upstream = await startUpstream({ auth: { kind: 'bearer' } })
  const file = join(folder, 'mirrors.yaml')
  await writeFile(
    file,
    `server: { listen: "127.0.0.1:0" }
storage: { path: ./data, maxSize: 1GiB }
registries: { docker.io: { default: true, upstreams: [{ name: upstream, url: "${upstream.url}", role: origin }] } }
`,
  )
  const { config } = loadConfig({ file, env: {}, cwd: folder })
  const app = await buildApp(config, pino({ level: 'silent' }))
  const { port } = await app.listen()
  return { upstream, app, client: new RegistryCheck(`http://127.0.0.1:${port}`), folder }
}

async function tearDown({ app, upstream, folder }: Bench): Promise<void> {
  await app.close()
  await upstream.close()
  await rm(folder, { recursive: true, force: true })
}
