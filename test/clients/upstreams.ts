import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { RegistryUpstream } from '../helpers/registry-upstream.js'
import { TokenService } from '../helpers/token-service.js'
import { WORLD } from './world.js'

/** A docker-registry process and the fault proxy in front of it. */
export interface Upstream {
  registry: RegistryUpstream
  proxy: FaultProxy
}

/** Upstreams by name, and the token service that they share. */
export class Upstreams<Name extends string> {
  readonly tokens: TokenService
  readonly #byName: Record<Name, Upstream>

  private constructor(tokens: TokenService, byName: Record<Name, Upstream>) {
    this.tokens = tokens
    this.#byName = byName
  }

  /** @param storages upstream's name to the folder with its content; several may share one */
  static async start<Name extends string>(folder: string, storages: Record<Name, string>): Promise<Upstreams<Name>> {
    await mkdir(folder, { recursive: true })
    const address = WORLD.upstreamAddress
    const tokens = await TokenService.start(folder, address)
    const started: [string, Upstream][] = []
    for (const [name, storage] of Object.entries<string>(storages)) {
      const registry = await RegistryUpstream.start({ name, folder, storage, address, tokens })
      started.push([name, { registry, proxy: await FaultProxy.start({ name, address, target: registry.url }) }])
    }
    return new Upstreams(tokens, Object.fromEntries(started) as Record<Name, Upstream>)
  }

  get(name: Name): Upstream {
    return this.#byName[name]
  }

  get proxies(): FaultProxy[] {
    return Object.values<Upstream>(this.#byName).map(({ proxy }) => proxy)
  }

  /** The entry for mirrors.yaml. */
  entry(name: Name, role?: 'origin'): { name: string; url: string; role?: 'origin' } {
    return { name, url: this.#byName[name].proxy.url, ...(role ? { role } : {}) }
  }

  /** Of all proxies together. */
  get bytes(): number {
    return this.proxies.reduce((sum, proxy) => sum + proxy.bytes, 0)
  }

  forget(): void {
    for (const proxy of this.proxies) proxy.forget()
  }

  /** Afterwards nothing listens any more: a real outage. May be called again. */
  async stop(): Promise<void> {
    for (const { registry, proxy } of Object.values<Upstream>(this.#byName)) {
      await proxy.stop()
      await registry.stop()
    }
    await this.tokens.stop()
  }
}

/** The storage folders of the content that setup.ts makes, under the folder of the run. */
export function contentFolders(root: string) {
  return { main: join(root, 'content/main'), lagging: join(root, 'content/lagging'), ghcr: join(root, 'content/ghcr') }
}
