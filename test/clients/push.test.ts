import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { read } from '../helpers/readers.js'
import { Dockerd } from './dockerd.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, stageFolder, startDockerHub } from './stage.js'
import { WORLD } from './world.js'

describe('docker push to a local namespace', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let pusher: Dockerd
  let puller: Dockerd

  beforeAll(async () => {
    folder = await stageFolder('push')
    upstreams = await startDockerHub(folder)
    mirror = await Mirror.start({ folder, registries: hubRegistries(upstreams) })
    pusher = await Dockerd.start({ ...WORLD.dockerA, folder: join(folder, 'pusher'), mirror: HOST })
    puller = await Dockerd.start({ ...WORLD.dockerB, folder: join(folder, 'puller'), mirror: HOST })
    await pusher.docker('pull', 'hello')
    await pusher.docker('pull', '-a', 'versions')
    await pusher.docker('pull', 'large')
    upstreams.forget()
  })

  afterAll(async () => {
    await pusher.stop()
    await puller.stop()
    await mirror.stop()
    await upstreams.stop()
  })

  test.each(['hello', 'large'])('%s comes back to another daemon as the same image', async (image) => {
    await pusher.docker('tag', image, `${HOST}/local/${image}:v1`)
    await pusher.docker('push', `${HOST}/local/${image}:v1`)

    await puller.docker('pull', `${HOST}/local/${image}:v1`)

    const pushed = await pusher.inspect(image, '{{.Id}}')
    expect(await puller.inspect(`${HOST}/local/${image}:v1`, '{{.Id}}')).toBe(pushed)
  })

  test('push -a brings every tag', async () => {
    const tags = ['1.0', '1.1', '2.0', 'latest']
    for (const tag of tags) await pusher.docker('tag', `versions:${tag}`, `${HOST}/local/versions:${tag}`)
    await pusher.docker('push', '-a', `${HOST}/local/versions`)

    await puller.docker('pull', '-a', `${HOST}/local/versions`)

    for (const tag of tags) {
      const pushed = await pusher.inspect(`versions:${tag}`, '{{.Id}}')
      expect(await puller.inspect(`${HOST}/local/versions:${tag}`, '{{.Id}}')).toBe(pushed)
    }
  })

  test('docker manifest makes and pushes a list of what was pushed for each platform', async () => {
    const list = `${HOST}/local/multi:v1`
    const platforms = ['amd64', 'arm64'] as const
    for (const arch of platforms) {
      await pusher.docker('pull', '--platform', `linux/${arch}`, 'platforms')
      await pusher.docker('tag', 'platforms', `${HOST}/local/multi:${arch}`)
      await pusher.docker('push', `${HOST}/local/multi:${arch}`)
    }
    const images = platforms.map((arch) => `${HOST}/local/multi:${arch}`)
    await pusher.docker('manifest', 'create', '--insecure', list, ...images)
    await pusher.docker('manifest', 'push', '--insecure', list)

    for (const arch of platforms) {
      await puller.docker('pull', '--platform', `linux/${arch}`, list)
      expect(await puller.inspect(list, '{{.Architecture}}')).toBe(arch)
    }
  })

  test('what was pushed is there after a kill -9', async () => {
    await mirror.kill()
    mirror = await Mirror.start({ folder, registries: hubRegistries(upstreams) })
    await puller.docker('rmi', `${HOST}/local/large:v1`)

    await puller.docker('pull', `${HOST}/local/large:v1`)

    const { text } = await read(`${mirror.url}/v2/_catalog`)
    expect((JSON.parse(text) as { repositories: string[] }).repositories).toEqual(
      expect.arrayContaining(['local/hello', 'local/large', 'local/versions']),
    )
  })

  test('no upstream was asked for what is local', () => {
    const asked = upstreams.proxies.flatMap((proxy) => proxy.asked.map(({ line }) => line))
    expect(asked.filter((line) => !line.includes(' /v2/library/platforms/'))).toEqual([])
  })

  test('a push to a name that is read through is refused', async () => {
    await pusher.docker('tag', 'hello', `${HOST}/library/hello:mine`)

    const { code, output } = await pusher.attempt('push', `${HOST}/library/hello:mine`)

    expect(code).not.toBe(0)
    expect(output).toMatch(/denied/i)
  })
})
