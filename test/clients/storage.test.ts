import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../helpers/process.js'
import { read } from '../helpers/readers.js'
import { factsOf, type ManifestFacts } from './facts.js'
import { figure, MIB } from './figure.js'
import { HOST, launch, Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder, startDockerHub } from './stage.js'
import type { Tools } from './tools.js'

const LIMIT = 100_000_000

describe('The storage folder', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let skopeo: Tools['skopeo']
  let mirror: Mirror | undefined
  const mounted: string[] = []

  beforeAll(async () => {
    folder = await stageFolder('storage')
    upstreams = await startDockerHub(folder)
    skopeo = (await observer(folder)).skopeo
  })
  afterEach(async () => {
    await mirror?.stop()
    mirror = undefined
    for (const path of mounted.splice(0)) await run('umount', [path])
  })
  afterAll(() => upstreams.stop())

  const facts = (image: string): Promise<ManifestFacts> =>
    factsOf(skopeo, `${upstreams.get('hub').registry.host}/library/${image}`)

  /** Reads an image as a client does. @returns the outcome of its layer */
  async function pull({ url }: Mirror, image: string, { digest, layers }: ManifestFacts) {
    const manifest = await read(`${url}/v2/library/${image}/manifests/latest`)
    const layer = await read(`${url}/v2/library/${image}/blobs/${layers[0]!.digest}`)
    expect([manifest.digest, layer.digest]).toEqual([digest, layers[0]!.digest])
    return layer.cache
  }

  const diskBytes = async (path: string) =>
    Number(
      (await run('du', ['-s', '--block-size=1', join(path, 'blobs'), join(path, 'fills')])).stdout
        .split('\n')
        .map((line) => Number(line.split('\t')[0]))
        .reduce((sum, bytes) => sum + bytes, 0),
    )

  async function mountTmpfs(name: string, options: string): Promise<string> {
    const path = join(folder, name)
    await mkdir(path, { recursive: true })
    await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path])
    mounted.push(path)
    return path
  }

  test('stays within maxSize: 300 MB pulled through 100 MB, the last images are hits', async () => {
    mirror = await Mirror.start({
      folder: join(folder, 'small'),
      registries: hubRegistries(upstreams),
      maxSize: '100MB',
    })
    const images = await Promise.all(
      Array.from({ length: 15 }, async (_, n) => ({ name: `twenty-${n + 1}`, facts: await facts(`twenty-${n + 1}`) })),
    )
    let most = 0
    for (const image of images) {
      await pull(mirror, image.name, image.facts)
      most = Math.max(most, await diskBytes(join(folder, 'small/data')))
    }

    figure('maxSize 100 MB, 300 MB pulled: disk at most', most, 'B')
    expect(most).toBeLessThanOrEqual(LIMIT + 20_100_000)
    await expect.poll(() => diskBytes(join(folder, 'small/data'))).toBeLessThanOrEqual(LIMIT)
    for (const image of images.slice(-3)) expect(await pull(mirror, image.name, image.facts)).toBe('hit')
  })

  test('on a disk that is full pulls pass through uncached, pushes are refused, and it goes on', async () => {
    const path = await mountTmpfs('full', 'size=30m')
    mirror = await Mirror.start({
      folder: join(folder, 'full-run'),
      storage: join(path, 'data'),
      registries: hubRegistries(upstreams),
    })
    const large = await facts('large')
    const small = await facts('hello')

    const outcomes = [await pull(mirror, 'large', large), await pull(mirror, 'large', large)]
    const push = await fetch(`${mirror.url}/v2/local/big/blobs/uploads/?digest=${large.layers[0]!.digest}`, {
      method: 'POST',
      body: Buffer.alloc(64 * MIB),
    })

    expect(outcomes).toEqual(['miss', 'miss'])
    expect([push.status, await push.json()]).toMatchObject([507, { errors: [{ code: 'UNAVAILABLE' }] }])
    const log = mirror.daemon.log()
    expect(log.match(/storage cannot be written/g)).toHaveLength(1)
    expect(log).not.toContain('"level":"error"')
    await pull(mirror, 'hello', small)
    expect(await pull(mirror, 'hello', small)).toBe('hit')
  })

  test('on a disk that is full a layer pushed in chunks is refused, and does not keep the disk full', async () => {
    const path = await mountTmpfs('full-push', 'size=30m')
    mirror = await Mirror.start({
      folder: join(folder, 'full-push-run'),
      storage: join(path, 'data'),
      registries: hubRegistries(upstreams),
    })
    const hub = `docker://${upstreams.get('hub').registry.host}/library`
    for (const image of ['large', 'hello']) {
      await skopeo('copy', '--src-tls-verify=false', `${hub}/${image}`, `dir:${folder}/${image}`)
    }
    const push = (image: string) =>
      skopeo('copy', '--dest-tls-verify=false', `dir:${folder}/${image}`, `docker://${HOST}/local/${image}:v1`)

    await expect(push('large')).rejects.toThrow(/disk is full|507|Insufficient Storage/)

    await push('hello')
    expect((await factsOf(skopeo, `${HOST}/local/hello:v1`)).digest).toBe((await facts('hello')).digest)
    expect(mirror.daemon.log()).not.toContain('"level":"error"')
  })

  test('on a disk that is full from the start it serves all the same, and stops in order', async () => {
    const path = await mountTmpfs('full-at-start', 'size=30m')
    const options = {
      folder: join(folder, 'full-start'),
      storage: join(path, 'data'),
      registries: hubRegistries(upstreams),
    }
    mirror = await Mirror.start(options)
    await mirror.stop()
    await run('sh', ['-c', `head -c 40m /dev/zero > ${path}/filler || true`])

    mirror = await Mirror.start(options)
    const outcome = await pull(mirror, 'large', await facts('large'))

    expect(outcome).toBe('miss')
    expect(await mirror.stop()).toBe(0)
  })

  test('that cannot be written is said in one line', async () => {
    const path = await mountTmpfs('read-only', 'size=1m,ro')
    const server = await launch({
      folder: join(folder, 'unwritable'),
      storage: join(path, 'data'),
      registries: hubRegistries(upstreams),
    })

    expect(await server.ended).toBe(1)
    expect(server.log().trim().split('\n')).toEqual([
      expect.stringMatching(/^entrepot: storage\.path .* cannot be used: it is on a read-only file system$/),
    ])
  })
})
