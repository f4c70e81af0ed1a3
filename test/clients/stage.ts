import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { inject } from 'vitest'
import { type Tools, tools } from './tools.js'
import { contentFolders, Upstreams } from './upstreams.js'

/** A folder of its own for a test file, in the folder of the run. */
export async function stageFolder(name: string): Promise<string> {
  const folder = join(inject('root'), name)
  await mkdir(folder, { recursive: true })
  return folder
}

/** The upstreams of docker.io, all with the same content: the Hub and two mirrors. */
export function startDockerHub(folder: string): Promise<Upstreams<'hub' | 'nju' | 'ustc'>> {
  const { main } = contentFolders(inject('root'))
  return Upstreams.start(join(folder, 'upstreams'), { hub: main, nju: main, ustc: main })
}

/** As in the mirrors.yaml of a user behind a slow line: mirrors first, the Hub last, tags asked for at every pull. */
export function hubRegistries(upstreams: Upstreams<'hub' | 'nju' | 'ustc'>) {
  const inOrder = [upstreams.entry('nju'), upstreams.entry('ustc'), upstreams.entry('hub', 'origin')]
  return { 'docker.io': { upstreams: inOrder, tags: { ttl: '0s' } } }
}

/** podman, buildah and skopeo of the harness itself, without any mirror: to look at upstreams and the mirror from outside. */
export function observer(folder: string): Promise<Tools> {
  return tools({ folder: join(folder, 'observer') })
}
