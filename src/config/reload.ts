import { isDeepStrictEqual } from 'node:util'
import type { Config, RegistryConfig } from './config.js'

/** What a file that was read again comes to; all by name, so that nothing here is secret. */
export interface ReloadPlan {
  /** To be put into effect: as the file says, but for what takes a restart. */
  config: Config
  /** Upstreams as `docker.io/nju`, registries by name. */
  added: string[]
  removed: string[]
  /** Upstreams, and keys of the file such as `log.level`. */
  changed: string[]
  /** Keys that the file has another value for, which counts from the next start on. */
  restart: string[]
}

/** What of `wanted` can take the place of `running` while the server runs, and what that changes. */
export function planReload(running: Config, wanted: Config): ReloadPlan {
  const { registries, auth, upstream, prefetch, gc } = wanted
  const { maxSizeBytes, lowWatermark } = wanted.storage
  // What is not named here stays as it was: a key that is new somewhere else takes a restart until it is dealt with.
  const config: Config = {
    ...running,
    ...{ registries, auth, upstream, prefetch, gc },
    storage: { ...running.storage, maxSizeBytes, lowWatermark },
    local: { ...running.local, immutableTags: wanted.local.immutableTags },
    log: { ...running.log, level: wanted.log.level },
  }
  const registry = compare(namedRegistries(running), namedRegistries(config))
  const others = compare(namedUpstreams(running), namedUpstreams(config))
  return {
    config,
    added: [...registry.added, ...others.added],
    removed: [...registry.removed, ...others.removed],
    changed: [...others.changed, ...changedRegistries(running, config), ...changedKeys(running, config)],
    restart: changedKeys(config, wanted),
  }
}

const namedRegistries = ({ registries }: Config) => new Map(registries.map((each) => [each.name, each]))
const namedUpstreams = ({ registries }: Config) =>
  new Map(registries.flatMap(({ name, upstreams }) => upstreams.map((each) => [`${name}/${each.name}`, each] as const)))

function compare(before: ReadonlyMap<string, unknown>, after: ReadonlyMap<string, unknown>) {
  return {
    added: [...after.keys()].filter((name) => !before.has(name)),
    removed: [...before.keys()].filter((name) => !after.has(name)),
    changed: [...after]
      .filter(([name, value]) => before.has(name) && !isDeepStrictEqual(before.get(name), value))
      .map(([name]) => name),
  }
}

/** Keys of registries that are there before and after: `registries.docker.io.tags`. */
function changedRegistries(running: Config, config: Config): string[] {
  const before = namedRegistries(running)
  return config.registries.flatMap((registry) => {
    const known = before.get(registry.name)
    if (!known) return []
    const keys = compare(registryKeys(known), registryKeys(registry)).changed
    return [...keys, ...(inOtherOrder(known, registry) ? ['upstreams'] : [])].map(
      (key) => `registries.${registry.name}.${key}`,
    )
  })
}

function registryKeys({ name: _name, upstreams: _upstreams, ...keys }: RegistryConfig): Map<string, unknown> {
  return new Map(Object.entries(keys).map(([key, value]) => [inFile(key), value]))
}

/** Whether those that are in both lists stand otherwise. */
function inOtherOrder(before: RegistryConfig, after: RegistryConfig): boolean {
  const [one, other] = [before, after].map(({ upstreams }) => upstreams.map(({ name }) => name)) as [string[], string[]]
  const kept = one.filter((name) => other.includes(name))
  return !isDeepStrictEqual(
    kept,
    other.filter((name) => one.includes(name)),
  )
}

/** Keys outside of `registries` that differ, as they are written in the file. */
function changedKeys(before: Config, after: Config): string[] {
  const [one, other] = [keysOf(before), keysOf(after)]
  const { added, removed, changed } = compare(one, other)
  return [...new Set([...added, ...removed, ...changed])]
}

function keysOf({ registries: _registries, server, auth, ...sections }: Config): Map<string, unknown> {
  const keys = Object.entries(sections).flatMap(([section, values]) =>
    Object.entries(values).map(([key, value]): [string, unknown] => [`${section}.${inFile(key)}`, value]),
  )
  return new Map([['server.listen', server], ['auth', auth], ...keys])
}

/** The unit is part of the value there. */
function inFile(key: string): string {
  return key.replace(/(Ms|Bytes)$/, '')
}
