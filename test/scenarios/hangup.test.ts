import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestFrom, hasherFor, parseDigest } from '../../src/oci/digest.js'
import type { StatsDocument } from '../../src/stats/document.js'
import { freePort, type ServerProcess, startCommand } from '../helpers/server-process.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024
/** A process of its own may have to wait for its turn. */
const PATIENCE = { timeout: 10_000 }

describe('SIGHUP', () => {
  let folder: string
  let hub: BuiltInUpstream
  let near: BuiltInUpstream
  let url: string
  let server: ServerProcess
  let settings: Record<string, unknown>

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hangup-'))
    closing({ close: () => rm(folder, { recursive: true, force: true }) })
    hub = await startUpstream()
    near = await startUpstream()
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    settings = { server: { listen: `127.0.0.1:${port}` } }
    await configure([asOrigin(hub)])
    server = startCommand(['serve'], { cwd: folder })
    await server.listening()
  })
  afterEach(closeAll)

  const file = () => join(folder, 'mirrors.yaml')
  const asOrigin = ({ url }: BuiltInUpstream) => ({ name: 'hub', url, role: 'origin' })
  const configure = (upstreams: object[], more: object = {}) =>
    writeFile(file(), JSON.stringify({ ...settings, ...more, registries: { 'docker.io': { upstreams } } }))

  const lines = () =>
    server.stdout
      .split('\n')
      .filter((line) => line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  const linesOf = (msg: string) => lines().filter((line) => line.msg === msg)

  /** Sends the signal and waits for the line that ends what it leads to. */
  async function hangUp(last: string) {
    const before = linesOf(last).length
    process.kill(server.pid, 'SIGHUP')
    await expect.poll(() => linesOf(last).length, PATIENCE).toBe(before + 1)
  }

  async function pull(digest: string) {
    const { statusCode, body, headers } = await request(`${url}/v2/library/app/blobs/${digest}`)
    const hash = hasherFor(parseDigest(digest))
    for await (const chunk of body) hash.update(chunk)
    return { status: statusCode, digest: digestFrom(hash), source: headers['x-cache-source'] }
  }

  /** A pull that stands still in the middle until `rest` is called for. */
  async function beginPull() {
    const digest = hub.addBlob(4 * MIB)
    hub.bytesPerSecond = 8 * MIB
    const pulled = pull(digest)
    await expect.poll(() => hub.contentBytesSent, { ...PATIENCE, interval: 5 }).toBeGreaterThan(MIB / 2)
    hub.bytesPerSecond = 1
    const rest = () => {
      hub.bytesPerSecond = undefined
      return pulled
    }
    return { digest, rest }
  }

  const stats = async () => (await (await request(`${url}/stats`)).body.json()) as StatsDocument

  test('puts a new mirror into use without a restart, and says in one line what has changed, without secrets', async () => {
    const { digest, rest } = await beginPull()
    const next = near.addBlob(1000)

    await configure([{ name: 'near', url: near.url, username: 'me', password: 'geheim' }], { log: { level: 'debug' } })
    await hangUp('configuration reloaded')

    expect(await pull(next)).toEqual({ status: 200, digest: next, source: 'near' })
    expect(await rest()).toEqual({ status: 200, digest, source: 'hub' })
    expect((await stats()).upstreams).toMatchObject([{ registry: 'docker.io', name: 'near', requests: 1 }])
    expect(linesOf('configuration reloaded')).toEqual([
      {
        level: 'info',
        time: expect.any(String),
        msg: 'configuration reloaded',
        added: ['docker.io/near'],
        removed: ['docker.io/hub'],
        changed: ['log.level'],
      },
    ])
    expect(server.stdout + server.stderr).not.toContain('geheim')
  })

  test('with a faulty file tells every fault with its upstream, line and column, and keeps everything as it was', async () => {
    const { digest, rest } = await beginPull()

    await writeFile(
      file(),
      `log: { level: loud }
registries:
  docker.io:
    upstreams:
      - { name: near, url: "htps://near.example" }
      - { name: twice, url: "https://one.example" }
      - { name: twice, url: "https://two.example" }
`,
    )
    await hangUp('configuration not reloaded: the one before stays in effect')

    const about = (at: string, reason: string, upstream = {}) => ({
      level: 'error',
      at: `mirrors.yaml:${at}`,
      reason: expect.stringContaining(reason),
      ...upstream,
    })
    expect(linesOf('fault in the configuration')).toMatchObject([
      about('1:15', '"loud" is not one of'),
      about('5:28', 'scheme "htps"', { upstream: 'docker.io/near' }),
      about('7:17', 'used twice', { upstream: 'docker.io/twice' }),
    ])
    expect(await rest()).toEqual({ status: 200, digest, source: 'hub' })
    const next = hub.addBlob(1000)
    expect(await pull(next)).toEqual({ status: 200, digest: next, source: 'hub' })
    expect((await stats()).upstreams).toMatchObject([{ name: 'hub', requests: 2 }])
  })

  test('a faulty file at the start is told with the names of the upstreams, too', async () => {
    await configure([{ name: 'near', url: 'htps://near.example' }])
    const second = startCommand(['serve'], { cwd: folder })

    expect(await second.ended()).toBe(1)
    expect(second.stderr).toMatch(/^mirrors\.yaml:1:\d+: docker\.io\/near: scheme "htps"/)
  })

  test('names what takes a restart, and applies the rest', async () => {
    await configure([asOrigin(hub)], {
      server: { listen: '127.0.0.1:1' },
      storage: { path: './elsewhere', maxSize: '1GiB' },
    })
    await hangUp('configuration reloaded')

    expect(linesOf('these keys have changed and take a restart')).toMatchObject([
      { level: 'warn', keys: ['server.listen', 'storage.path'] },
    ])
    expect(linesOf('configuration reloaded')).toMatchObject([{ changed: ['storage.maxSize'] }])
    expect((await stats()).cache.maxSizeBytes).toBe(2 ** 30)
  })

  test('the level of the log holds for what was there before', async () => {
    const pullAt = async (level: string, maxSize: string, bytes: number) => {
      await configure([asOrigin(hub)], { log: { level }, storage: { maxSize } })
      process.kill(server.pid, 'SIGHUP')
      await expect.poll(async () => (await stats()).cache.maxSizeBytes, PATIENCE).toBe(bytes)
      const { fills } = (await stats()).cache
      await pull(hub.addBlob(10))
      await expect.poll(async () => (await stats()).cache.fills, PATIENCE).toBe(fills + 1)
    }

    await pullAt('info', '1GiB', 2 ** 30)
    await pullAt('error', '2GiB', 2 ** 31)
    await pullAt('debug', '3GiB', 3 * 2 ** 30)

    await expect.poll(() => linesOf('blob cached'), PATIENCE).toHaveLength(2)
    expect(linesOf('configuration reloaded')).toMatchObject([
      { changed: ['storage.maxSize'] },
      { changed: ['storage.maxSize', 'log.level'] },
    ])
  })

  test('with the file gone changes nothing, and with the same file neither', async () => {
    await hangUp('configuration read again: nothing has changed')
    await rm(file())
    await hangUp('configuration not reloaded: the one before stays in effect')

    expect(linesOf('fault in the configuration')).toMatchObject([
      { at: 'mirrors.yaml:1:1', reason: 'cannot be read: no such file' },
    ])
    const digest = hub.addBlob(10)
    expect(await pull(digest)).toMatchObject({ status: 200, source: 'hub' })
  })

  test('while it stops is left alone', async () => {
    const { digest, rest } = await beginPull()
    const ended = server.end('SIGTERM')
    await expect.poll(() => lines().some(({ signal }) => signal === 'SIGTERM'), PATIENCE).toBe(true)
    await configure([])
    await hangUp('stopping: the configuration is not read again')

    expect((await rest()).digest).toBe(digest)
    expect(await ended).toBe(0)
    expect(linesOf('fault in the configuration')).toEqual([])
  })
})
