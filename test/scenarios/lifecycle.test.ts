import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestFrom, hasherFor } from '../../src/oci/digest.js'
import { freePort, startCommand } from '../helpers/server-process.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'

const MIB = 1024 * 1024

describe('the server as a process', () => {
  let folder: string
  let hub: BuiltInUpstream
  let port: number
  let url: string

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lifecycle-'))
    closing({ close: () => rm(folder, { recursive: true, force: true }) })
    hub = await startUpstream()
    port = await freePort()
    url = `http://127.0.0.1:${port}`
    await configure({})
  })
  afterEach(closeAll)

  async function configure(storage: Record<string, unknown>, listen = `127.0.0.1:${port}`) {
    const registries = { 'docker.io': { default: true, upstreams: [{ name: 'hub', url: hub.url, role: 'origin' }] } }
    const config = { server: { listen }, storage: { path: './data', ...storage }, registries }
    await writeFile(join(folder, 'mirrors.yaml'), JSON.stringify(config))
  }

  async function serve() {
    const server = startCommand(['serve'], { cwd: folder })
    await server.listening()
    return server
  }

  async function pull(digest: string) {
    const { statusCode, body, headers } = await request(`${url}/v2/library/app/blobs/${digest}`)
    const hash = hasherFor(digest as Parameters<typeof hasherFor>[0])
    for await (const chunk of body) hash.update(chunk)
    return { status: statusCode, digest: digestFrom(hash), outcome: headers['x-cache'] }
  }

  const partBytes = async () => {
    const [name] = await readdir(join(folder, 'data', 'fills'))
    return name ? (await readFile(join(folder, 'data', 'fills', name))).length : 0
  }

  test('kill -9 in the middle of a fill: after the restart only the rest is asked for', async () => {
    // Small enough to come in one stream: what is missing is one piece.
    const digest = hub.addBlob(12 * MIB)
    hub.bytesPerSecond = 2 * MIB
    const first = await serve()
    const lost = pull(digest).catch(() => 'lost')
    await expect.poll(partBytes, { interval: 20 }).toBeGreaterThan(MIB / 2)
    await first.end('SIGKILL')
    await lost
    const kept = await partBytes()
    hub.bytesPerSecond = undefined

    await serve()
    const got = await pull(digest)

    expect(got).toMatchObject({ status: 200, digest })
    const last = hub.requests.at(-1)
    expect(last?.range).toBe(`bytes=${kept}-`)
    expect(last?.bytesSent).toBe(12 * MIB - kept)
  })

  test('SIGTERM in the middle of a fill keeps the part file and exits 0', async () => {
    const digest = hub.addBlob(12 * MIB)
    hub.fault = ({ range }) => (range === undefined ? { kind: 'stall', after: 4 * MIB } : undefined)
    const server = await serve()
    const lost = pull(digest).catch(() => 'lost')
    await expect.poll(partBytes).toBe(4 * MIB)
    // The client is gone, so nothing has to be drained.
    const code = await server.end('SIGTERM')
    await lost

    expect(code).toBe(0)
    expect(await partBytes()).toBe(4 * MIB)
  })

  test('SIGTERM lets a running download end first', async () => {
    const digest = hub.addBlob(4 * MIB)
    hub.bytesPerSecond = 4 * MIB
    const server = await serve()
    const running = pull(digest)
    await expect.poll(() => hub.contentBytesSent).toBeGreaterThan(MIB)

    const code = await server.end('SIGTERM')

    expect((await running).digest).toBe(digest)
    expect(code).toBe(0)
  })

  test.each(['deleted', 'truncated', 'garbage'])('index.db %s: everything is served as before', async (damage) => {
    const { manifest, layers } = hub.addImage('library/app', 'v1', { layers: [2 * MIB] })
    const server = await serve()
    await request(`${url}/v2/library/app/manifests/v1`).then(({ body }) => body.dump())
    await pull(layers[0]!)
    await server.end('SIGTERM')
    const index = join(folder, 'data', 'index.db')
    if (damage === 'deleted') await rm(index)
    if (damage === 'truncated') await writeFile(index, (await readFile(index)).subarray(0, 5000))
    if (damage === 'garbage') await writeFile(index, randomBytes(20_000))
    await hub.stop()

    await serve()

    const { statusCode, headers, body } = await request(`${url}/v2/library/app/manifests/v1`)
    await body.dump()
    expect([statusCode, headers['docker-content-digest']]).toEqual([200, manifest])
    expect(await pull(layers[0]!)).toMatchObject({ status: 200, outcome: 'hit' })
    const stats = (await (await request(`${url}/stats`)).body.json()) as { cache: { blobs: number; manifests: number } }
    expect(stats.cache).toMatchObject({ blobs: 1, manifests: 1 })
  })

  test('it starts and listens with every upstream gone, and says where and how to point Docker to it', async () => {
    await hub.stop()
    const server = await serve()

    const ping = await request(`${url}/v2/`, { headers: { authorization: 'Basic bm90OmhlcmU=' } })

    expect(ping.statusCode).toBe(200)
    await ping.body.dump()
    expect(server.stderr).toContain(`"registry-mirrors": ["${url}"]`)
    expect(server.stderr).toContain(`"insecure-registries": ["127.0.0.1:${port}"]`)
    expect(server.stdout).not.toContain('bm90OmhlcmU=')
  })

  test('a second process on the same storage is refused in one line', async () => {
    await serve()
    await configure({}, '127.0.0.1:0')
    const second = startCommand(['serve'], { cwd: folder })

    expect(await second.ended()).toBe(1)
    expect(second.stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^entrepot: storage\.path .* another entrepot is running on it$/),
    ])
  })

  test('a port in use is said in one line', async () => {
    await serve()
    await configure({ path: './other' })
    const second = startCommand(['serve'], { cwd: folder })

    expect(await second.ended()).toBe(1)
    expect(second.stderr.trim()).toBe(
      `entrepot: cannot listen on 127.0.0.1:${port}: it is in use; set server.listen to another address`,
    )
  })

  test('a storage path that is a file is said in one line', async () => {
    await writeFile(join(folder, 'occupied'), '')
    await configure({ path: './occupied' })
    const server = startCommand(['serve'], { cwd: folder })

    expect(await server.ended()).toBe(1)
    expect(server.stderr.trim().split('\n')).toHaveLength(1)
    expect(server.stderr).toContain('there is a file where a folder is needed')
  })

  test('a storage of a newer layout is refused', async () => {
    const first = await serve()
    await first.end()
    await writeFile(join(folder, 'data', 'layout.json'), '{"version":99}')
    const server = startCommand(['serve'], { cwd: folder })

    expect(await server.ended()).toBe(1)
    expect(server.stderr).toContain('newer entrepot')
  })

  test('a TLS hello on the plain port is closed at once', async () => {
    await serve()
    const socket = connect(port, '127.0.0.1')
    socket.write(Buffer.from('16030100c8010000c40303', 'hex'))
    socket.resume()

    await once(socket, 'close', { signal: AbortSignal.timeout(2000) })
  })

  test.each([
    [['serve', '--nope'], 2, 'unknown option'],
    [['serve', '-c', 'absent.yaml'], 1, 'absent.yaml'],
    [['frobnicate'], 2, 'unknown command'],
    [['--help'], 0, ''],
    [['check'], 0, ''],
  ])('entrepot %j exits %i', async (args, code, message) => {
    const command = startCommand(args, { cwd: folder })

    expect(await command.ended()).toBe(code)
    expect(command.stderr).toContain(message)
  })

  test('a faulty file is reported whole and nothing is listened on', async () => {
    await writeFile(join(folder, 'mirrors.yaml'), 'server:\n  lissten: 1\nstorage:\n  maxSize: 10 parsecs\n')
    const server = startCommand(['serve'], { cwd: folder })

    expect(await server.ended()).toBe(1)
    const lines = server.stderr.trim().split('\n')
    expect(lines[0]).toMatch(/^mirrors\.yaml:2:3: /)
    expect(lines[1]).toMatch(/^mirrors\.yaml:4:12: /)
  })

  test('entrepot doctor passes every step', async () => {
    const doctor = startCommand(['doctor'], { cwd: folder })

    expect(await doctor.ended()).toBe(0)
    expect(doctor.stdout).toContain('all 7 steps passed')
  })

  test('entrepot doctor --server asks a running server, and fails in one line on one that is not there', async () => {
    await serve()
    const running = startCommand(['doctor', '--server', url], { cwd: folder })
    expect([await running.ended(), running.stderr]).toEqual([0, ''])

    const absent = startCommand(['doctor', '--server', `http://127.0.0.1:${await freePort()}`], { cwd: folder })

    expect(await absent.ended()).toBe(1)
    expect(absent.stderr.trim().split('\n')).toHaveLength(1)
  })

  test('entrepot passwd makes a user that a server lets in at once, and doctor as well', async () => {
    const file = join(folder, 'mirrors.yaml')
    const auth = { htpasswd: 'users.htpasswd' }
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), auth }))
    const passwd = async (password: string, ...args: string[]) => {
      const command = startCommand(['passwd', '-c', 'mirrors.yaml', ...args], { cwd: folder, stdin: `${password}\n` })
      return [await command.ended(), command.stdout + command.stderr]
    }
    const doctor = async (account: string) => {
      const command = startCommand(['doctor', '--server', url.replace('://', `://${account}@`)], { cwd: folder })
      return [await command.ended(), command.stderr]
    }
    const users = join(folder, 'users.htpasswd')

    expect(await passwd('first', 'alice')).toEqual([0, `${users}: alice is set\n`])
    expect((await stat(users)).mode & 0o777).toBe(0o600)
    await serve()
    expect(await doctor('alice:first')).toEqual([0, ''])
    await passwd('sec:nd', 'alice')
    await passwd('third', 'bob')
    expect(await doctor('alice:sec%3And')).toEqual([0, ''])
    expect(await doctor('alice:first')).toEqual([1, expect.stringContaining('401')])
    expect(await passwd('', '--delete', 'bob')).toEqual([0, `${users}: bob is gone\n`])
    expect(await readFile(users, 'utf8')).toMatch(/^alice:\$2[by]\$10\$\S{53}\n$/)
  })

  test.each([
    ['an empty password', '\n', ['alice'], 'no password came'],
    ['more than bcrypt looks at', `${'x'.repeat(73)}\n`, ['alice'], 'longer than the 72 bytes'],
    ['the name of everybody', 'x\n', ['anonymous'], 'anonymous stands for everybody'],
    ['a user who is not there', '', ['--delete', 'alice'], 'has no user alice'],
  ])('entrepot passwd refuses %s in one line', async (_case, stdin, args, message) => {
    await writeFile(join(folder, 'users.yaml'), 'auth: { htpasswd: users.htpasswd }\n')

    const command = startCommand(['passwd', '-c', 'users.yaml', ...args], { cwd: folder, stdin })

    expect(await command.ended()).toBe(1)
    expect(command.stderr).toContain(message)
    expect(command.stderr.trim().split('\n')).toHaveLength(1)
  })

  test.each([
    ['that names no file of users', '{}', 'names no file of users: write auth: { htpasswd: users.htpasswd }'],
    ['whose folder is not there', 'auth: { htpasswd: none/users }', 'the folder is not there'],
  ])('entrepot passwd refuses a configuration %s', async (_case, text, message) => {
    await writeFile(join(folder, 'users.yaml'), text)

    const command = startCommand(['passwd', '-c', 'users.yaml', 'alice'], { cwd: folder, stdin: 'x\n' })

    expect(await command.ended()).toBe(1)
    expect(command.stderr).toContain(message)
  })
})
