import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { Random } from '../helpers/chaos.js'
import { temporaryFolder } from '../helpers/local-server.js'
import { digestOfBody, pusher } from '../helpers/push.js'
import { PushClient } from '../helpers/push-client.js'
import { type OpenUpload, PushLedger } from '../helpers/push-ledger.js'
import { type ServerProcess, startCommand } from '../helpers/server-process.js'
import { closeAll } from '../helpers/upstream.js'

/** `npm run test:kill` does 200. */
const KILLS = Number(process.env.KILLS ?? 6)
const SEED = Number(process.env.KILL_SEED ?? Date.now() % 1_000_000)
const CLIENTS = 4
const LONGEST_MS = 700
/** Of what was acknowledged before the last round, so much is looked at again after each kill; all of it at the end. */
const SAMPLE = 25

afterEach(closeAll)

test(`kill -9 at ${KILLS} moments of concurrent pushes, seed ${SEED}: what was acknowledged is there, anything else is absent or whole`, {
  timeout: 30_000 + KILLS * 10_000,
}, async () => {
  const { path: folder, remove } = await temporaryFolder()
  const random = new Random(SEED)
  const ledger = new PushLedger()
  const count = { unansweredWhole: 0, unansweredAbsent: 0, resumed: 0 }
  const file = join(folder, 'mirrors.yaml')
  await writeFile(
    file,
    'server: { listen: 127.0.0.1:0 }\nregistries: { hub.test: { default: true, upstreams: [{ name: hub, url: "http://127.0.0.1:9" }] } }\nlog: { access: false }\n',
  )
  const serve = () => startServer(folder, file)

  let server = await serve()
  for (let kill = 0; kill < KILLS; kill++) {
    const before = { blobs: ledger.blobs.length, manifests: ledger.manifests.length }
    const storm = pushStorm(server.url, { random, ledger, kill })
    await sleep(random.below(LONGEST_MS))
    await server.process.end('SIGKILL')
    await storm
    if (random.next() < 0.1) await rm(join(folder, 'data', 'index.db'), { force: true })
    server = await serve()
    const look = new Look(server.url, ledger, count)
    await look.blobs(sampled(ledger.blobs, before.blobs, random))
    await look.manifests(sampled(ledger.manifests, before.manifests, random))
    await look.tags()
    await look.unanswered()
    await look.uploads(random)
  }
  const look = new Look(server.url, ledger, count)
  await look.blobs(ledger.blobs)
  await look.manifests(ledger.manifests)
  expect(await wrongFiles(join(folder, 'data', 'blobs'))).toEqual([])
  expect(ledger.manifests.length).toBeGreaterThan(0)
  console.log({
    kills: KILLS,
    seed: SEED,
    blobs: ledger.blobs.length,
    manifests: ledger.manifests.length,
    ...count,
  })
  await server.process.end()
  await remove()
})

async function startServer(folder: string, file: string): Promise<{ url: string; process: ServerProcess }> {
  const process = startCommand(['serve', '-c', file], { cwd: folder })
  await process.listening()
  return { url: `http://${/"listen":"([^"]+)"/.exec(process.stdout)?.[1]}`, process }
}

/** Clients that push until the server is gone; anything but a broken connection is an error. */
async function pushStorm(url: string, { random, ledger, kill }: { random: Random; ledger: PushLedger; kill: number }) {
  const common = [random.bytes(100_000 + kill), random.bytes(1_000_000 + kill)]
  const clients = Array.from({ length: CLIENTS }, (_, n) => {
    const own = new Random(random.below(2 ** 32))
    return new PushClient({ url, name: `c${n}`, random: own, ledger, common })
  })
  const ends = await Promise.allSettled(clients.map((client) => client.run()))
  for (const end of ends) {
    if (end.status === 'rejected' && !isBrokenConnection(end.reason)) throw end.reason
  }
}

function isBrokenConnection({ cause }: Error): boolean {
  return ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(
    (cause as { code?: string } | undefined)?.code ?? '',
  )
}

/** The latest, and some of those before. */
function sampled<Item>(all: readonly Item[], earlier: number, random: Random): Item[] {
  const old = Array.from({ length: Math.min(SAMPLE, earlier) }, () => all[random.below(earlier)]!)
  return [...all.slice(earlier), ...old]
}

/** What became of requests that had no answer, and uploads that went on. */
type Count = Record<'unansweredWhole' | 'unansweredAbsent' | 'resumed', number>

/** What a client sees after a restart, held against the ledger. */
class Look {
  readonly #url: string
  readonly #ledger: PushLedger
  readonly #count: Count

  constructor(url: string, ledger: PushLedger, count: Count) {
    this.#url = url
    this.#ledger = ledger
    this.#count = count
  }

  async blobs(blobs: PushLedger['blobs']): Promise<void> {
    for (const { repository, digest } of blobs) await this.#whole('blobs', repository, digest)
  }

  async manifests(manifests: PushLedger['manifests']): Promise<void> {
    for (const { repository, digest, children } of manifests) {
      await this.#whole('manifests', repository, digest)
      for (const child of children) expect((await this.#ask('HEAD', 'blobs', repository, child)).status).toBe(200)
    }
  }

  async tags(): Promise<void> {
    for (const { repository, tag, allowed } of this.#ledger.tags) {
      const response = await this.#ask('GET', 'manifests', repository, tag)
      const bytes = new Uint8Array(await response.arrayBuffer())
      const now = response.status === 404 ? 'absent' : digestOf(bytes)
      expect(allowed).toContain(now)
      if (now !== 'absent') {
        const { config, layers } = JSON.parse(Buffer.from(bytes).toString())
        for (const { digest } of [config, ...layers])
          expect((await this.#ask('HEAD', 'blobs', repository, digest)).status).toBe(200)
      }
      this.#ledger.settle(repository, tag, now)
    }
  }

  async unanswered(): Promise<void> {
    for (const { kind, repository, digest } of this.#ledger.unanswered.splice(0)) {
      const response = await this.#ask('GET', kind, repository, digest)
      expect([200, 404]).toContain(response.status)
      if (response.status === 404) await response.arrayBuffer()
      else expect(await digestOfBody(response)).toBe(digest)
      this.#count[response.status === 200 ? 'unansweredWhole' : 'unansweredAbsent']++
    }
  }

  /** Each goes on from at least what was acknowledged; one that is gone was being finished. */
  async uploads(random: Random): Promise<void> {
    const client = new PushClient({ url: this.#url, name: 'again', random, ledger: this.#ledger, common: [] })
    for (const upload of this.#ledger.uploads) {
      const { status, headers } = await fetch(this.#url + upload.location)
      if (status === 404) {
        expect(upload.acknowledged).toBe(upload.bytes.length)
        continue
      }
      expect(status).toBe(204)
      const received = receivedBytes(headers.get('range'))
      expect(received).toBeGreaterThanOrEqual(upload.acknowledged)
      upload.acknowledged = received
      await client.continue(upload)
      await this.#finish(upload)
    }
    this.#ledger.uploads.clear()
  }

  async #finish({ repository, location, bytes }: OpenUpload): Promise<void> {
    const digest = digestOf(bytes)
    const { status } = await pusher(this.#url).finish(new URL(location, this.#url), digest)
    expect(status).toBe(201)
    await this.#whole('blobs', repository, digest)
    this.#ledger.blobs.push({ repository, digest })
    this.#count.resumed++
  }

  async #whole(kind: 'blobs' | 'manifests', repository: string, digest: Digest): Promise<void> {
    const response = await this.#ask('GET', kind, repository, digest)
    expect(response.status, `${repository} ${kind} ${digest}`).toBe(200)
    expect(await digestOfBody(response)).toBe(digest)
  }

  #ask(method: string, kind: string, repository: string, reference: string): Promise<Response> {
    return fetch(`${this.#url}/v2/${repository}/${kind}/${reference}`, { method })
  }
}

/** `0-N`; `0-0` may stand for nothing as well as for one byte. */
function receivedBytes(range: string | null): number {
  const end = Number(/^0-(\d+)$/.exec(range ?? '')?.[1])
  return end === 0 ? 0 : end + 1
}

/** Files under blobs/ whose content is not what their name says. */
async function wrongFiles(folder: string): Promise<string[]> {
  const wrong: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(join(entry.parentPath, entry.name))) hash.update(chunk as Buffer)
    if (hash.digest('hex') !== basename(entry.name)) wrong.push(entry.name)
  }
  return wrong
}
