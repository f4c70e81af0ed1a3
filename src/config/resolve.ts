import { resolve } from 'node:path'
import type { Config, RegistryConfig, RetentionConfig, TagRuleConfig, UpstreamConfig } from './config.js'
import { egressOf } from './egress.js'
import { upstreamName } from './names.js'
import type { FileConfig } from './schema.js'
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
    local: toLocal(file.local),
    gc: {
      everyMs: file.gc.every,
      graceMs: file.gc.grace,
      retention: file.gc.retention.map(toRetention),
    },
    auth: file.auth,
    upstream: {
      firstHeaderBudgetMs: upstream.firstHeaderBudget,
      revalidationBudgetMs: upstream.revalidationBudget,
      segments: { size: upstream.segments.size, minBlob: upstream.segments.minBlob },
    },
    prefetch: file.prefetch,
    log: file.log,
  }
}

function toLocal({ minFree, uploads, ...local }: FileConfig['local']): Config['local'] {
  const { expire, perClient, chunkMinLength } = uploads
  return { ...local, minFreeBytes: minFree, uploads: { expireMs: expire, perClient, chunkMinLength } }
}

function toRegistry(name: string, { registries, upstream }: FileConfig): RegistryConfig {
  const { tags, negativeTtl, attach, aliases, upstreams } = registries[name]!
  const marked = Object.keys(registries).find((each) => registries[each]!.default)
  const builtIn = name === DOCKER_HUB ? DOCKER_HUB_ALIASES.filter((alias) => !(alias in registries)) : []
  return {
    name,
    default: name === (marked ?? DOCKER_HUB),
    aliases: [...new Set([...builtIn, ...aliases])],
    tags: {
      ttlMs: tags.ttl,
      staleIfErrorMs: tags.staleIfError,
      originHoldMs: tags.originHold,
      staleWhileRevalidateMs: tags.staleWhileRevalidate,
      whenGone: tags.whenGone,
      rules: tags.rules.map(toRule),
    },
    negativeTtlMs: negativeTtl,
    attach,
    upstreams: upstreams.map((each) => toUpstream(each, upstream)),
  }
}

function toRetention({ repositories, keepLast, keepTags, olderThan, untagged }: FileConfig['gc']['retention'][number]) {
  const rule: RetentionConfig = { repositories, keepTags }
  if (keepLast !== undefined) rule.keepLast = keepLast
  if (olderThan !== undefined) rule.olderThanMs = olderThan
  if (untagged !== undefined) rule.untaggedMs = untagged
  return rule
}

function toRule({ match, repository, immutable, ttl, staleIfError, whenGone }: FileRegistry['tags']['rules'][number]) {
  const rule: TagRuleConfig = { match, immutable }
  if (repository !== undefined) rule.repository = repository
  if (ttl !== undefined) rule.ttlMs = ttl
  if (staleIfError !== undefined) rule.staleIfErrorMs = staleIfError
  if (whenGone !== undefined) rule.whenGone = whenGone
  return rule
}

function toUpstream(upstream: FileUpstream, all: FileConfig['upstream']): UpstreamConfig {
  const { url, role, resolve: resolves, allow, username, password, realms, rateLimitReserve, timeouts } = upstream
  const credentials = upstream.credentials.flatMap(({ username, password }) =>
    username === undefined || password === undefined ? [] : [{ username, password }],
  )
  return {
    name: upstreamName(upstream.name, url)!,
    url,
    role,
    resolve: resolves,
    allow,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(credentials.length === 0 ? {} : { credentials }),
    realms,
    rateLimitReserve,
    timeouts: {
      connectMs: timeouts.connect ?? all.timeouts.connect,
      firstByteMs: timeouts.firstByte ?? all.timeouts.firstByte,
      idleMs: timeouts.idle ?? all.timeouts.idle,
    },
    connections: upstream.connections ?? all.connections,
    segmentsAtOnce: upstream.segments.perUpstream ?? all.segments.perUpstream,
    minBytesPerSecond: upstream.minRate ?? all.minRate,
    egress: egressOf(upstream, all),
  }
}
