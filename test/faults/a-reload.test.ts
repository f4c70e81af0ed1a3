import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ServerProcess } from '../helpers/server-process.js'
import { fetchBlob, pull } from './client.js'
import { useStage } from './stage.js'

const stage = useStage({ name: 'a-reload', upstreams: ['a', 'b', 'hub'] })

const MIB = 1024 * 1024
const FAULTY = `registries:
  docker.io:
    upstreams:
      - { name: far, url: "htps://far.example" }
      - { name: near, url: "https://near.example" }
      - { name: near, url: "https://other.example" }
`

test('F27 a wrong scheme and a name used twice: the start fails and names both, and a reload keeps what runs', async () => {
  const [image, next] = await stage.images(2)
  const folder = join(stage.folder, 'faulty')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'mirrors.yaml'), FAULTY)
  const started = new ServerProcess(['serve'], { cwd: folder })

  expect(await started.ended()).not.toBe(0)
  expect(started.stderr).toMatch(/mirrors\.yaml:4:\d+: docker\.io\/far: .*scheme/)
  expect(started.stderr).toMatch(/mirrors\.yaml:6:\d+: docker\.io\/near: .*twice/)

  const mirror = await stage.mirror({ upstreams: ['a'] })
  await pull(mirror.url, image!)
  const said = await mirror.reload(FAULTY)
  expect(said.filter(({ level }) => level === 'error').map(({ upstream }) => upstream)).toEqual(
    expect.arrayContaining(['docker.io/far', 'docker.io/near']),
  )
  expect((await pull(mirror.url, next!)).layers[0]!.source).toBe('a')

  await mirror.reload({ folder: mirror.folder, upstreams: [stage.entry('b')] })
  expect((await pull(mirror.url, await stage.image())).layers[0]!.source).toBe('b')
})

test('F28 an upstream that a reload removes in the middle of a transfer: the layer comes to its end, the next one from the new list', async () => {
  const image = await stage.image({ layers: [4 * MIB] })
  const layer = image.layers[0]!
  const a = stage.proxy('a')
  a.line.bytesPerSecond = 2 * MIB
  const mirror = await stage.mirror({ upstreams: ['a'] })
  const running = fetchBlob(mirror.url, image.repository, layer)
  await expect.poll(() => a.bytes, { interval: 10, timeout: 10_000 }).toBeGreaterThan(MIB / 2)
  // It is still under way when the other one has been asked.
  a.line.bytesPerSecond = 256 * 1024

  await mirror.reload({ folder: mirror.folder, upstreams: [stage.entry('b')] })
  const next = await pull(mirror.url, await stage.image())

  expect(next.layers[0]!.source).toBe('b')
  a.line.bytesPerSecond = undefined
  expect((await running).source).toBe('a')
  expect((await mirror.stats()).upstreams.map(({ name }) => name)).toEqual(['b'])
  await expect.poll(() => a.sockets, { timeout: 10_000 }).toBe(0)

  await mirror.reload({ folder: mirror.folder, upstreams: [stage.entry('a')] })
  expect((await pull(mirror.url, await stage.image())).layers[0]!.source).toBe('a')
})
