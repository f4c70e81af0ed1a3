import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, inject } from 'vitest'
import type { Certified } from '../helpers/certificates.js'
import { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { RegistryUpstream } from '../helpers/registry-upstream.js'
import type { TokenService } from '../helpers/token-service.js'
import { type Image, type ImageOptions, pushImage } from './content.js'
import { type MirrorOptions, MirrorProcess } from './mirror.js'
import { WORLD } from './world.js'

export interface StageOptions<Name extends string> {
  /** Of the folder; the test file's. */
  name: string
  /** Fault proxies in front of `registry`, by the name that the mirror's configuration uses. */
  upstreams: readonly Name[]
  /** Those that speak TLS, with their certificates. */
  tls?: Partial<Record<Name, Certified & { ALPNProtocols?: string[] }>>
  /** Names under which upstreams are reached; their address when left out. */
  hosts?: Partial<Record<Name, string>>
}

/** What the tests of a file need: one real registry, the upstreams in front of it, and mirrors over them. */
export class Stage<Name extends string> {
  readonly #options: StageOptions<Name>
  readonly #proxies = new Map<string, FaultProxy>()
  readonly #registries: RegistryUpstream[] = []
  readonly #undo: (() => Promise<unknown>)[] = []
  #mirrors: MirrorProcess[] = []
  #folder = ''
  #registry: RegistryUpstream | undefined
  #count = 0

  constructor(options: StageOptions<Name>) {
    this.#options = options
  }

  get folder(): string {
    return this.#folder
  }

  /** The registry behind all upstreams. */
  get registry(): RegistryUpstream {
    return this.#registry!
  }

  async open(): Promise<void> {
    const { name, upstreams, tls, hosts } = this.#options
    this.#folder = join(inject('root'), name)
    await mkdir(this.#folder, { recursive: true })
    this.#registry = await this.addRegistry('main')
    for (const upstream of upstreams) {
      await this.addProxy({ name: upstream, tls: tls?.[upstream], host: hosts?.[upstream] })
    }
  }

  proxy(name: Name): FaultProxy {
    return this.#proxies.get(name)!
  }

  get proxies(): FaultProxy[] {
    return [...this.#proxies.values()]
  }

  /** Another registry for the rest of the file, with content of its own unless `storage` is that of another one. */
  async addRegistry(
    name: string,
    options: { storage?: string; tokens?: TokenService } = {},
  ): Promise<RegistryUpstream> {
    const { storage = this.storageOf(name), tokens } = options
    const deps = { name, folder: this.#folder, storage, address: WORLD.upstreams }
    const registry = await RegistryUpstream.start(tokens ? { ...deps, tokens } : deps)
    this.#registries.push(registry)
    return registry
  }

  storageOf(registry: string): string {
    return join(this.#folder, `content-${registry}`)
  }

  /** Another proxy for the rest of the file, such as a store that upstreams redirect to. */
  async addProxy(options: {
    name: string
    address?: string
    port?: number
    target?: string
    tls?: Certified | undefined
    host?: string | undefined
  }): Promise<FaultProxy> {
    const proxy = await FaultProxy.start({ address: WORLD.upstreams, target: this.registry.url, ...options })
    this.#proxies.set(options.name, proxy)
    return proxy
  }

  /** An upstream's entry for mirrors.yaml; `rest` as `{ role: 'origin' }`. */
  entry(name: Name, rest: Record<string, unknown> = {}): Record<string, unknown> {
    return { name, url: this.proxy(name).url, ...rest }
  }

  /** A new image, in a repository of its own unless one is given. */
  image(options: Partial<ImageOptions> = {}): Promise<Image> {
    return pushImage(this.registry.url, { repository: `library/app-${++this.#count}`, ...options })
  }

  async images(count: number, options: Partial<ImageOptions> = {}): Promise<Image[]> {
    const images: Image[] = []
    for (let n = 0; n < count; n++) images.push(await this.image(options))
    return images
  }

  /**
   * A mirror over these upstreams, in order; ended after the test. It is empty, unless `folder` is another one's.
   * An upstream given by name alone is a mirror; `hub` is an origin.
   */
  async mirror({
    upstreams = this.#options.upstreams,
    ...options
  }: Omit<Partial<MirrorOptions>, 'upstreams'> & {
    upstreams?: readonly (Name | Record<string, unknown>)[]
  } = {}): Promise<MirrorProcess> {
    const entries = upstreams.map((upstream) => {
      if (typeof upstream !== 'string') return upstream
      return this.entry(upstream, upstream === 'hub' ? { role: 'origin' } : {})
    })
    const folder = join(this.#folder, `mirror-${++this.#count}`)
    const mirror = await MirrorProcess.start({ folder, ...options, upstreams: entries })
    this.#mirrors.push(mirror)
    return mirror
  }

  /** Ends a mirror in the middle of a test, as an operator does; its folder is left for another one. */
  async stop(mirror: MirrorProcess): Promise<void> {
    this.#mirrors = this.#mirrors.filter((each) => each !== mirror)
    const how = await mirror.stop()
    if (how !== 0) throw new Error(`a mirror ended with ${how}:\n${mirror.output.slice(-3000)}`)
  }

  /** To be done after the test, also when it fails. */
  after(undo: () => Promise<unknown>): void {
    this.#undo.push(undo)
  }

  /** After each test. @throws when a mirror has ended by itself */
  async clear(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo()
    const mirrors = this.#mirrors
    this.#mirrors = []
    const dead = mirrors.filter(({ running }) => !running)
    for (const mirror of mirrors) await mirror.stop('SIGKILL')
    for (const proxy of this.#proxies.values()) {
      await proxy.heal()
      proxy.forget()
    }
    if (dead.length > 0) throw new Error(`a mirror has ended:\n${dead.map(({ output }) => output.slice(-3000)).join()}`)
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.stop()
    for (const registry of this.#registries) await registry.stop()
  }
}

/** A stage for the tests of this file, opened before them, cleared after each and closed after all. */
export function useStage<Name extends string>(options: StageOptions<Name>): Stage<Name> {
  const stage = new Stage(options)
  beforeAll(() => stage.open())
  afterEach(() => stage.clear())
  afterAll(() => stage.close())
  return stage
}
