import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import { addressOf, bareName, isLoopbackHost } from '../lib/hosts.js'
import type { Credential } from './token-source.js'
import { type Target, tunnelByConnect, tunnelBySocks } from './tunnel.js'

export interface ProxyOptions {
  /** http, https or socks5, with credentials or without; undefined: none. */
  url: string | undefined
  /** `host` and what is below it, `.domain` below it only, either with `:port`; an address, a network as `10.0.0.0/8`; `*`. */
  except: readonly string[]
}

const DEFAULT_PORTS: Record<string, number> = { 'http:': 80, 'https:': 443, 'socks5:': 1080 }

/** The proxy of one upstream, and which hosts it is for. */
export class ForwardProxy {
  /** Where it listens. */
  readonly host: string
  readonly port: number
  /** Whether TLS is spoken to it. */
  readonly secure: boolean
  readonly #socks: boolean
  readonly #credential: Credential | undefined
  readonly #except: readonly string[]

  constructor({ url, except }: ProxyOptions & { url: string }) {
    const { protocol, hostname, port, username, password } = new URL(url)
    this.host = addressOf(hostname) ?? hostname
    this.port = Number(port) || (DEFAULT_PORTS[protocol] ?? 80)
    this.secure = protocol === 'https:'
    this.#socks = protocol === 'socks5:'
    this.#credential = username
      ? { username: decodeURIComponent(username), password: decodeURIComponent(password) }
      : undefined
    this.#except = except
  }

  /** This machine is never asked through a proxy, whatever the exceptions say. */
  serves(host: string, port: number): boolean {
    return !isLoopbackHost(host) && !this.#except.some((entry) => covers(entry, host, port))
  }

  /** Makes a connection to the proxy one to `target`. @throws {ProxyError} */
  open(socket: Socket, target: Target): Promise<void> {
    const tunnel = this.#socks ? tunnelBySocks : tunnelByConnect
    return tunnel(socket, target, this.#credential)
  }
}

function covers(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true
  const [, network, prefix] = /^([0-9a-f.:]+)\/(\d{1,3})$/i.exec(entry) ?? []
  if (network !== undefined) return isIP(host) > 0 && contains(network, Number(prefix), host)
  const [, name = '', only] = isIP(entry) ? ['', entry] : (/^(.*?)(?::(\d+))?$/.exec(entry) ?? [])
  if (only !== undefined && Number(only) !== port) return false
  const wanted = bareName(addressOf(name) ?? name).replace(/^\*(?=\.)/, '')
  const asked = bareName(host)
  if (isIP(asked) || wanted === '') return asked === wanted
  return wanted.startsWith('.') ? asked.endsWith(wanted) : asked === wanted || asked.endsWith(`.${wanted}`)
}

function contains(network: string, prefix: number, address: string): boolean {
  const family = (text: string) => (isIPv6(text) ? 'ipv6' : 'ipv4')
  if (!isIP(network) || prefix > (isIPv6(network) ? 128 : 32)) return false
  const list = new BlockList()
  list.addSubnet(network, prefix, family(network))
  return list.check(address, family(address))
}
