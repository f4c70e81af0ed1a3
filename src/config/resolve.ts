import { resolve } from 'node:path'
import { upstreamName } from './names.js'
import type { Config, FileConfig, RegistryConfig, UpstreamConfig } from './schema.js'
import { DOCKER_HUB, DOCKER_HUB_ALIASES } from './shipped.js'

type FileRegistry = FileConfig['registries'][string]
type FileUpstream = FileRegistry['upstreams'][number]

/** @param folder what relative paths are relative to */
export function toConfig(file: FileConfig, folder: string): Config {
  const { storage, registries, upstream } = file
  return {
    server: file.server.listen,
    storage: {
      path: resolve(folder, storage.path),
      maxSizeBytes: storage.maxSize,
      lowWatermark: storage.lowWatermark,
      memoryBytes: storage.memory,
    },
    registries: Object.keys(registries).map((name) => toRegistry(name, file)),
    local: file.local,
    auth: file.auth,
    upstream: { firstHeaderBudgetMs: upstream.firstHeaderBudget, revalidationBudgetMs: upstream.revalidationBudget },
    log: file.log,
  }
}

function toRegistry(name: string, { registries, upstream }: FileConfig): RegistryConfig {
  const { tags, negativeTtl, aliases, upstreams } = registries[name]!
  const marked = Object.keys(registries).find((each) => registries[each]!.default)
  const builtIn = name === DOCKER_HUB ? DOCKER_HUB_ALIASES.filter((alias) => !(alias in registries)) : []
  return {
    name,
    default: name === (marked ?? DOCKER_HUB),
    aliases: [...new Set([...builtIn, ...aliases])],
    tags: { ttlMs: tags.ttl, staleIfErrorMs: tags.staleIfError, originHoldMs: tags.originHold },
    negativeTtlMs: negativeTtl,
    upstreams: upstreams.map((each) => toUpstream(each, upstream.timeouts)),
  }
}

function toUpstream(upstream: FileUpstream, defaults: FileConfig['upstream']['timeouts']): UpstreamConfig {
  const { url, role, resolve: resolves, allow, username, password, timeouts } = upstream
  return {
    name: upstreamName(upstream.name, url)!,
    url,
    role,
    resolve: resolves,
    allow,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    timeouts: {
      connectMs: timeouts.connect ?? defaults.connect,
      firstByteMs: timeouts.firstByte ?? defaults.firstByte,
      idleMs: timeouts.idle ?? defaults.idle,
    },
  }
}
