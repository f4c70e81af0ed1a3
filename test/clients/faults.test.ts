import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Fault } from '../helpers/fault-proxy/fault.js'
import { Dockerd } from './dockerd.js'
import { factsOf } from './facts.js'
import { figure } from './figure.js'
import { HOST, Mirror } from './mirror.js'
import { hubRegistries, observer, stageFolder, startDockerHub } from './stage.js'
import { type Tools, tools } from './tools.js'
import { WORLD } from './world.js'

const FAULTS: [string, Fault][] = [
  ['cut', { kind: 'cut', after: 0.3 }],
  ['stall', { kind: 'stall', after: 0.3 }],
  ['html', { kind: 'html' }],
  ['flip', { kind: 'flip' }],
]

describe('With two of three upstreams at fault', () => {
  let folder: string
  let upstreams: Awaited<ReturnType<typeof startDockerHub>>
  let mirror: Mirror
  let dockerd: Dockerd
  let podman: Tools['podman']
  let configOf: (image: string) => Promise<string | undefined>

  beforeAll(async () => {
    folder = await stageFolder('faults')
    upstreams = await startDockerHub(folder)
    const { skopeo } = await observer(folder)
    configOf = async (image) => (await factsOf(skopeo, `${upstreams.get('hub').registry.host}/library/${image}`)).config
    dockerd = await Dockerd.start({ ...WORLD.dockerA, folder: join(folder, 'docker'), mirror: HOST })
    podman = (await tools({ folder: join(folder, 'client'), netns: WORLD.tools.netns, mirror: HOST })).podman
  })
  afterEach(() => mirror.stop())
  afterAll(async () => {
    await dockerd.stop()
    await upstreams.stop()
  })

  /** A mirror that has nothing, over upstreams of which two of three do `fault` to every blob. */
  async function mirrorWith(name: string, fault: Fault): Promise<void> {
    upstreams.forget()
    for (const bad of ['nju', 'ustc'] as const) {
      const { proxy } = upstreams.get(bad)
      await proxy.heal()
      proxy.inject(fault, { method: 'GET', kind: 'blob' })
    }
    mirror = await Mirror.start({ folder: join(folder, name), registries: hubRegistries(upstreams) })
  }

  test.each(FAULTS)('%s: one docker pull brings the right image without an error', async (name, fault) => {
    await mirrorWith(`docker-${name}`, fault)
    const startedAt = performance.now()

    await dockerd.docker('pull', `fault-${name}`)

    expect(await dockerd.inspect(`fault-${name}`, '{{.Id}}')).toBe(await configOf(`fault-${name}`))
    figure(`docker pull of 8 MiB, two of three upstreams: ${name}`, (performance.now() - startedAt) / 1000, 's')
  })

  // A flipped byte is known only at the end, when most of the blob is with the client: podman gives up at the reset.
  test.each(FAULTS.filter(([name]) => name !== 'flip'))(
    '%s: podman, which never tries again, sees nothing of it',
    async (name, fault) => {
      await mirrorWith(`podman-${name}`, fault)

      await podman('pull', `docker.io/library/fault-${name}`)

      const { stdout } = await podman('image', 'inspect', '--format', '{{.Id}}', `docker.io/library/fault-${name}`)
      expect(`sha256:${stdout.trim()}`).toBe(await configOf(`fault-${name}`))
    },
  )
})
