import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { RegistryUpstream } from '../helpers/registry-upstream.js'
import { TokenService } from '../helpers/token-service.js'
import { MIB } from './figure.js'
import { ImageBuilder } from './images.js'
import { contentFolders } from './upstreams.js'
import { buildWorld, WORLD } from './world.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The folder of this run; each test file makes its own folder in it. */
    root: string
    /** Where go-clients.ts has put its programs. */
    goClients: string
  }
}

/** Once a run: the network, and the content of all upstreams. run.ts hands over the folders. */
export default async function setup(project: TestProject): Promise<void> {
  const { ENTREPOT_RUN_ROOT: root, ENTREPOT_CLIENTS_ROOTFS: rootFs, ENTREPOT_GO_CLIENTS: programs } = process.env
  if (!root || !rootFs || !programs) throw new Error('start these tests by npm run test:clients')
  project.provide('root', root)
  project.provide('goClients', programs)
  await buildWorld()
  const startedAt = Date.now()
  await makeContent(root, rootFs)
  console.log(`upstream content made in ${Math.round((Date.now() - startedAt) / 1000)} s`)
}

async function makeContent(root: string, rootFs: string): Promise<void> {
  const folder = join(root, 'setup')
  await mkdir(folder, { recursive: true })
  const address = WORLD.upstreamAddress
  const tokens = await TokenService.start(folder, address)
  for (const [name, storage] of Object.entries(contentFolders(root))) {
    const registry = await RegistryUpstream.start({ name, folder, storage, address, tokens })
    const builder = await ImageBuilder.start({ folder: join(folder, name), host: registry.host })
    if (name === 'main') await makeMain(builder, rootFs)
    if (name === 'lagging') await builder.small({ name: 'library/moving:latest', says: 'old' })
    if (name === 'ghcr') await builder.small({ name: 'acme/tool:v1', says: 'hello from ghcr.io', format: 'oci' })
    await registry.stop()
  }
  await tokens.stop()
}

async function makeMain(builder: ImageBuilder, rootFs: string): Promise<void> {
  await builder.small({ name: 'library/hello:latest', says: 'hello through the mirror' })
  await builder.platforms('library/platforms:latest')
  for (const tag of ['1.0', '1.1', '2.0', 'latest']) await builder.small({ name: `library/versions:${tag}`, says: tag })
  for (const name of ['unknown-1', 'unknown-2']) await builder.small({ name: `library/${name}:latest`, says: name })
  await builder.small({ name: 'library/moving:latest', says: 'new' })
  await builder.rootFs('library/debian:bookworm', rootFs)
  await builder.random('library/large:latest', 64 * MIB)
  await builder.random('library/medium:latest', 8 * MIB)
  for (let n = 1; n <= 15; n++) await builder.random(`library/twenty-${n}:latest`, 20_000_000)
}
