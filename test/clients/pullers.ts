import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Containerd } from './containerd.js'
import { Dockerd } from './dockerd.js'
import { HOST } from './mirror.js'
import { tools } from './tools.js'
import { WORLD } from './world.js'

/** A client that pulls repositories of docker.io/library through the mirror, by what it takes to use any of them alike. */
export interface Puller {
  /** Once, as its user would; what it tries by itself is its own. @throws when it ends with an error */
  pull(repository: string): Promise<void>
  /** Digest of the config of what it has pulled. */
  configOf(repository: string): Promise<string>
  /** It has nothing of it any more. */
  forget(repository: string): Promise<void>
  stop(): Promise<unknown>
}

/** The four of them, each empty and with everything under a folder of its own in `folder`; the caller stops each. */
export const PULLERS = { dockerd, ctr, podman, skopeo } satisfies Record<string, (folder: string) => Promise<Puller>>

async function dockerd(folder: string): Promise<Puller> {
  const daemon = await Dockerd.start({ ...WORLD.dockerA, folder, mirror: HOST })
  return {
    async pull(repository) {
      await daemon.docker('pull', repository)
    },
    configOf: (repository) => daemon.inspect(repository, '{{.Id}}'),
    async forget(repository) {
      await daemon.docker('rmi', repository)
    },
    stop: () => daemon.stop(),
  }
}

async function ctr(folder: string): Promise<Puller> {
  const daemon = await Containerd.start({ ...WORLD.tools, folder, mirror: HOST, registries: ['docker.io'] })
  const nameOf = (repository: string) => `docker.io/library/${repository}:latest`
  return {
    async pull(repository) {
      await daemon.pull(nameOf(repository))
    },
    async configOf(repository) {
      const digest = (await daemon.digestOf(nameOf(repository))) ?? ''
      return configIn((await daemon.ctr('content', 'get', digest)).stdout)
    },
    async forget(repository) {
      await daemon.ctr('images', 'rm', '--sync', nameOf(repository))
    },
    stop: () => daemon.stop(),
  }
}

async function podman(folder: string): Promise<Puller> {
  const { podman: run } = await tools({ folder, netns: WORLD.tools.netns, mirror: HOST })
  const nameOf = (repository: string) => `docker.io/library/${repository}`
  return {
    async pull(repository) {
      await run('pull', nameOf(repository))
    },
    async configOf(repository) {
      const { stdout } = await run('image', 'inspect', '--format', '{{.Id}}', nameOf(repository))
      return `sha256:${stdout.trim()}`
    },
    async forget(repository) {
      await run('rmi', nameOf(repository))
    },
    stop: async () => {},
  }
}

async function skopeo(folder: string): Promise<Puller> {
  const { skopeo: run } = await tools({ folder, netns: WORLD.tools.netns, mirror: HOST })
  const target = (repository: string) => join(folder, repository)
  return {
    async pull(repository) {
      await run('copy', '--retry-times', '3', `docker://docker.io/library/${repository}`, `dir:${target(repository)}`)
    },
    configOf: async (repository) => configIn(await readFile(join(target(repository), 'manifest.json'), 'utf8')),
    forget: (repository) => rm(target(repository), { recursive: true }),
    stop: async () => {},
  }
}

function configIn(manifest: string): string {
  return (JSON.parse(manifest) as { config: { digest: string } }).config.digest
}
