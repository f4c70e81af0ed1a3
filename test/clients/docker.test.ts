import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attempt, run } from '../helpers/process.js'
import { Dockerd } from './dockerd.js'
import { factsOf, type ManifestFacts } from './facts.js'
import { figure } from './figure.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder, startDockerHub } from './stage.js'
import { WORLD } from './world.js'

const IMAGES = ['hello:latest', 'platforms:latest', 'versions:1.0', 'versions:latest', 'debian:bookworm'] as const

describe('A Docker daemon with the mirror in registry-mirrors and docker.io out of reach', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let first: Dockerd
  let second: Dockerd | undefined
  let facts: Record<(typeof IMAGES)[number], ManifestFacts>

  beforeAll(async () => {
    folder = await stageFolder('docker')
    upstreams = await startDockerHub(folder)
    const { skopeo } = await observer(folder)
    const host = upstreams.get('hub').registry.host
    const found = IMAGES.map(async (image) => [image, await factsOf(skopeo, `${host}/library/${image}`)])
    facts = Object.fromEntries(await Promise.all(found))
    mirror = await Mirror.start({ folder, registries: hubRegistries(upstreams) })
    first = await Dockerd.start({ ...WORLD.dockerA, folder: join(folder, 'first'), mirror: HOST })
  })

  afterAll(async () => {
    await first.stop()
    await second?.stop()
    await mirror.stop()
  })

  test('its namespace has no way out and resolves no name', async () => {
    const { code } = await attempt('getent', ['hosts', 'registry-1.docker.io'], WORLD.dockerA)
    const { stdout } = await run('ip', ['route', 'show', 'default'], WORLD.dockerA)

    expect(code).not.toBe(0)
    expect(stdout).toBe('')
  })

  test('pulls by tag what the Hub holds under it', async () => {
    await first.docker('pull', 'hello')

    expect(await first.inspect('hello', '{{.Id}}')).toBe(facts['hello:latest'].config)
    expect(await first.inspect('hello', '{{join .RepoDigests ","}}')).toBe(`hello@${facts['hello:latest'].digest}`)
  })

  test('pulls by digest', async () => {
    await first.docker('rmi', 'hello')

    await first.docker('pull', `hello@${facts['hello:latest'].digest}`)
    await first.docker('pull', 'hello')

    expect(await first.inspect(`hello@${facts['hello:latest'].digest}`, '{{.Id}}')).toBe(facts['hello:latest'].config)
  })

  test('pulls every tag of a repository with -a', async () => {
    await first.docker('pull', '-a', 'versions')

    const { stdout } = await first.docker('image', 'ls', '--format', '{{.Tag}}', 'versions')
    expect(stdout.trim().split('\n').sort()).toEqual(['1.0', '1.1', '2.0', 'latest'])
    expect(await first.inspect('versions:1.0', '{{.Id}}')).toBe(facts['versions:1.0'].config)
  })

  test('pulls its own platform and arm64 of one list', async () => {
    await first.docker('pull', 'platforms')
    const own = await first.inspect('platforms', '{{.Architecture}}')
    const digests = await first.inspect('platforms', '{{join .RepoDigests ","}}')
    await first.docker('pull', '--platform', 'linux/arm64', 'platforms')

    expect([own, await first.inspect('platforms', '{{.Architecture}}')]).toEqual(['amd64', 'arm64'])
    expect(digests).toBe(`platforms@${facts['platforms:latest'].digest}`)
  })

  test('pulls a Debian root file system made by debootstrap', async () => {
    const startedAt = performance.now()
    await first.docker('pull', 'debian:bookworm')

    expect(await first.inspect('debian:bookworm', '{{.Id}}')).toBe(facts['debian:bookworm'].config)
    figure('docker pull of a debootstrap root file system, cold', (performance.now() - startedAt) / 1000, 's')
  })

  test.each([
    ['hello', 'hello through the mirror'],
    ['debian:bookworm', '12.'],
  ])('runs %s', async (image, says) => {
    const { stdout } = await first.docker('run', '--rm', '--network', 'none', image)

    expect(stdout).toContain(says)
  })

  test('the Hub and its mirrors saw nobody but the mirror, and each blob was sent once', () => {
    const asked = upstreams.proxies.flatMap((proxy) => proxy.asked)
    const sent = asked.filter(({ line, status }) => line.includes('/blobs/') && status < 300)
    // A large one may come in parts, each from another place on.
    const blobs = sent.map(({ line, range }) => `${line} from ${/\d+/.exec(range ?? '0')?.[0]}`)

    expect(new Set(asked.map(({ from }) => from))).toEqual(new Set([WORLD.mirror.address]))
    expect(blobs.length).toBe(new Set(blobs).size)
    figure('docker pulls: requests at the upstreams', asked.length)
    figure('docker pulls: bytes from the upstreams', upstreams.bytes, 'B')
  })

  test('a second, empty daemon pulls and runs the same with every upstream stopped', async () => {
    await upstreams.stop()
    second = await Dockerd.start({ ...WORLD.dockerB, folder: join(folder, 'second'), mirror: HOST })

    await second.docker('pull', 'hello')
    await second.docker('pull', '-a', 'versions')
    await second.docker('pull', '--platform', 'linux/arm64', 'platforms')
    await second.docker('pull', `debian@${facts['debian:bookworm'].digest}`)
    const { stdout } = await second.docker('run', '--rm', '--network', 'none', 'hello')

    expect(stdout).toContain('hello through the mirror')
    const images = ['hello', 'versions:1.0', 'versions:1.1', 'versions:2.0', 'versions:latest', 'platforms']
    for (const image of [...images, `debian@${facts['debian:bookworm'].digest}`]) {
      expect(await second.inspect(image, '{{.Id}}')).toBe(await first.inspect(image, '{{.Id}}'))
    }
  })
})
