import { lookup as systemLookup } from 'node:dns/promises'
import { isIP, type Socket } from 'node:net'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import { buildConnector } from 'undici'
import { abortable } from '../lib/abortable.js'
import { addressOf } from '../lib/hosts.js'
import { AddressGuard } from './address-guard.js'
import { type Address, dialFirst } from './dial.js'
import { ForwardProxy } from './forward-proxy.js'
import { type Lookup, NameLookup } from './name-lookup.js'
import type { Target } from './tunnel.js'

/** How one upstream, its token service and its stores are reached. What is left out is the plain direct way. */
export interface EgressOptions {
  proxy?: string | undefined
  /** Hosts that are asked directly all the same. */
  noProxy?: readonly string[] | undefined
  /** PEM: authorities that are trusted besides those that Node brings. */
  ca?: string | undefined
  /** PEM: what is shown to a server that wants a client certificate; both or neither. */
  cert?: string | undefined
  key?: string | undefined
  family?: 'auto' | 4 | 6 | undefined
  /** Whether redirects and token realms may lead to internal addresses. */
  allowInternal?: boolean | undefined
  /** Of all bodies together; undefined: no cap. */
  maxBytesPerSecond?: number | undefined
}

export interface EgressDeps {
  options: EgressOptions
  /** Of the upstream's configured URL. */
  ownHost: string
  /** Instead of the system's. */
  lookup?: Lookup | undefined
}

/** Opens every connection on behalf of one upstream: proxy or not, which address, what certificates. */
export class Egress {
  readonly guard: AddressGuard
  readonly #proxy: ForwardProxy | undefined
  readonly #family: 0 | 4 | 6
  readonly #names: NameLookup
  readonly #wrap: buildConnector.connector
  readonly #wrapProxy: buildConnector.connector

  constructor({ options, ownHost, lookup = systemLookup }: EgressDeps) {
    const { proxy, noProxy = [], family = 'auto', allowInternal = false } = options
    this.guard = new AddressGuard({ ownHost, allowInternal })
    this.#proxy = proxy ? new ForwardProxy({ url: proxy, except: noProxy }) : undefined
    this.#family = family === 'auto' ? 0 : family
    this.#names = new NameLookup({ system: lookup })
    this.#wrap = tlsConnector(options)
    // the client certificate is for the upstream's side of the tunnel
    this.#wrapProxy = tlsConnector({ ca: options.ca })
  }

  /**
   * A socket to where undici wants one, TLS included.
   *
   * @throws {ForbiddenAddressError} or {ProxyError}, or what the system or TLS says; the signal's reason when it aborts
   */
  async connect(wanted: buildConnector.Options, signal: AbortSignal): Promise<Socket> {
    const secure = wanted.protocol === 'https:'
    const target = { host: addressOf(wanted.hostname) ?? wanted.hostname, port: portOf(wanted, secure) }
    const socket = await this.#reach(target, signal)
    return secure ? await this.#secured(this.#wrap, socket, wanted, signal) : socket
  }

  async #reach(target: Target, signal: AbortSignal): Promise<Socket> {
    const proxy = this.#proxy
    if (!proxy?.serves(target.host, target.port)) {
      const found = await abortable(this.#resolve(target.host), signal)
      return dialFirst(this.guard.allowed(target.host, found), target.port, signal)
    }
    const { host, port } = proxy
    const plain = await dialFirst(await abortable(this.#resolve(host), signal), port, signal)
    const options = { hostname: host, host, protocol: 'https:', port: String(port) }
    const socket = proxy.secure ? await this.#secured(this.#wrapProxy, plain, options, signal) : plain
    await closingOnFailure(socket, signal, proxy.open(socket, target))
    return socket
  }

  async #resolve(host: string): Promise<Address[]> {
    const family = isIP(host)
    return family ? [{ address: host, family }] : this.#names.find(host, this.#family)
  }

  #secured(
    wrap: buildConnector.connector,
    httpSocket: Socket,
    options: buildConnector.Options,
    signal: AbortSignal,
  ): Promise<Socket> {
    const secured = new Promise<Socket>((resolve, reject) => {
      wrap({ ...options, httpSocket }, (...[error, socket]) => (error ? reject(error) : resolve(socket)))
    })
    return closingOnFailure(httpSocket, signal, secured)
  }
}

function tlsConnector({ ca, cert, key }: Pick<EgressOptions, 'ca' | 'cert' | 'key'>): buildConnector.connector {
  let secureContext: SecureContext | undefined
  if (ca || cert) {
    secureContext = createSecureContext({
      ...(ca ? { ca: [...rootCertificates, ca] } : {}),
      ...(cert && key ? { cert, key } : {}),
    })
  }
  // whoever waits for a connection has a limit on all of it
  return buildConnector({ timeout: 0, ...(secureContext ? { secureContext } : {}) })
}

/** A socket whose handshake failed or was given up is nobody's. */
async function closingOnFailure<Value>(socket: Socket, signal: AbortSignal, work: Promise<Value>): Promise<Value> {
  try {
    return await abortable(work, signal)
  } catch (error) {
    socket.on('error', () => undefined).destroy()
    throw error
  }
}

function portOf({ port }: buildConnector.Options, secure: boolean): number {
  return Number(port) || (secure ? 443 : 80)
}
