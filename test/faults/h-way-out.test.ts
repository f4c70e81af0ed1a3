import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Authority } from '../helpers/certificates.js'
import type { FaultProxy } from '../helpers/fault-proxy/fault-proxy.js'
import { startConnectProxy } from '../helpers/proxies.js'
import { TokenService } from '../helpers/token-service.js'
import { closeAll } from '../helpers/upstream.js'
import { PullError, pull } from './client.js'
import type { Image } from './content.js'
import { NameServer } from './name-server.js'
import { useStage } from './stage.js'
import { WORLD } from './world.js'

/** The registry, its token service and the store of its blobs. */
const HOSTS = {
  registry: 'registry.upstream.example',
  auth: 'auth.upstream.example',
  cdn: 'cdn.elsewhere.example',
} as const

const authority = new Authority()
const certified = authority.issue(...Object.values(HOSTS))
const stage = useStage({ name: 'h-way-out', upstreams: [] })
let names: NameServer
let resolvConf: string
let ca: string
let tokens: TokenService
let hosts: Record<keyof typeof HOSTS, FaultProxy>

beforeAll(async () => {
  names = await NameServer.start('127.0.53.2')
  resolvConf = await names.writeResolvConf(join(stage.folder, 'resolv.conf'))
  ca = join(stage.folder, 'ca.pem')
  await writeFile(ca, authority.cert)
  tokens = await TokenService.start(stage.folder, WORLD.upstreams)
  const { realm } = JSON.parse(tokens.registryAuth).token as { realm: string }
  const restricted = await stage.addRegistry('restricted', { storage: stage.storageOf('main'), tokens })
  // Every address, for those who ask a name's own one and for the proxy, which leads to loopback.
  const serve = (name: keyof typeof HOSTS, target: string) =>
    stage.addProxy({ name, target, host: HOSTS[name], address: '0.0.0.0', tls: certified })
  hosts = {
    registry: await serve('registry', restricted.url),
    auth: await serve('auth', new URL(realm).origin),
    cdn: await serve('cdn', stage.registry.url),
  }
})
afterEach(closeAll)
afterAll(async () => {
  await tokens.stop()
  await names.stop()
})

/** Its challenge names the token service by its host, and its blobs lie in the store. */
function send({ repository }: Image): void {
  const { registry, auth, cdn } = hosts
  const challenge = `Bearer realm="${auth.url}/token",service="test upstreams",scope="repository:${repository}:pull"`
  registry.inject({ kind: 'redirect', to: cdn.url }, { method: 'GET', kind: 'blob' })
  registry.inject({ kind: 'headers', set: { 'www-authenticate': challenge } })
}

const mirrorWith = (env: Record<string, string>, settings: Record<string, unknown> = { ca }) =>
  stage.mirror({
    upstreams: [{ name: 'registry', url: hosts.registry.url }],
    settings: { upstream: settings },
    env,
    resolvConf,
  })

/** Hosts that were asked for, without their ports. */
const hostsOf = (asked: string[]) => new Set(asked.map((target) => target.split(':')[0]))

function resolveAll(): void {
  names.names.set(HOSTS.registry, { addresses: [WORLD.upstreams] })
  names.names.set(HOSTS.auth, { addresses: [WORLD.upstreams] })
  names.names.set(HOSTS.cdn, { addresses: [WORLD.elsewhere] })
}

test('F143 a proxy and an authority of one’s own are configured: registry, token service and store are reached by them', async () => {
  const image = await stage.image()
  names.names.clear()
  names.asked.length = 0
  const proxy = await startConnectProxy()
  send(image)
  const mirror = await mirrorWith({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, NO_PROXY: '' })

  await pull(mirror.url, image)

  expect(hostsOf(proxy.asked)).toEqual(new Set(Object.values(HOSTS)))
  for (const { asked, accepted } of Object.values(hosts)) {
    expect(asked.length).toBeGreaterThan(0)
    expect(accepted).toBeGreaterThan(0)
    expect(new Set(asked.map(({ from }) => from))).toEqual(new Set(['127.0.0.1']))
  }
  // Only the proxy resolves them.
  expect(names.asked).toEqual([])
})

test.each([
  { noProxy: HOSTS.auth, direct: [HOSTS.auth] },
  { noProxy: `.upstream.example, ${HOSTS.cdn}`, direct: Object.values(HOSTS) },
])(
  'F143 NO_PROXY has $noProxy: those are asked directly, the others through the proxy',
  async ({ noProxy, direct }) => {
    const image = await stage.image()
    resolveAll()
    const proxy = await startConnectProxy()
    send(image)
    const mirror = await mirrorWith({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, NO_PROXY: noProxy })

    await pull(mirror.url, image)

    const others = Object.values(HOSTS).filter((host) => !(direct as string[]).includes(host))
    expect(hostsOf(proxy.asked)).toEqual(new Set(others))
    for (const { asked } of Object.values(hosts)) expect(asked.length).toBeGreaterThan(0)
  },
)

test('F143 the authority is not configured: nothing is asked of anybody; the proxy is away: nobody is asked around it', async () => {
  const image = await stage.image()
  resolveAll()
  send(image)
  const proxy = await startConnectProxy()
  const env = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, NO_PROXY: '' }
  const untrusting = await mirrorWith(env, {})
  const mirror = await mirrorWith(env)

  await expect(pull(untrusting.url, image)).rejects.toThrow(PullError)
  expect(proxy.asked.length).toBeGreaterThan(0)
  await closeAll()
  await expect(pull(mirror.url, image)).rejects.toThrow(PullError)

  expect(Object.values(hosts).flatMap(({ asked }) => asked)).toEqual([])
})
