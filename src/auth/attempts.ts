import { isIPv6 } from 'node:net'
import { isLoopbackHost } from '../lib/hosts.js'
import { KeyedLock } from '../lib/keyed-lock.js'
import { SingleFlight } from '../lib/single-flight.js'
import { Throttle } from './throttle.js'

/** Wrong passwords that an address may give at once, and then one in so long. */
const FAILURES = { allowance: 10, refillMs: 6_000 }
/** A proxy speaks for many; whoever only says to be one gains no more than this. */
const PROXY_FAILURES = { allowance: 200, refillMs: 300 }

/** Whence a request came: the socket's address, and what a proxy there says it speaks for. */
export interface Origin {
  address: string
  forwardedFor?: string | undefined
}

/**
 * What an address may try: it waits after too many wrong passwords, and has one password checked at a time, so that what
 * is not known to be wrong yet is no failure and many guesses at once are no way around the wait.
 */
export class Attempts<Result> {
  readonly #clients: Throttle
  readonly #proxies: Throttle
  readonly #turns = new KeyedLock<string>()
  readonly #running = new SingleFlight<Result>()

  constructor({ now }: { now: () => number }) {
    this.#clients = new Throttle({ ...FAILURES, now })
    this.#proxies = new Throttle({ ...PROXY_FAILURES, now })
  }

  /** How long an address has to wait before its next attempt, milliseconds; 0: it may try. */
  waitMs(origin: Origin): number {
    const proxy = suspectProxyOf(origin)
    return Math.max(this.#clients.waitMs(clientOf(origin)), proxy === undefined ? 0 : this.#proxies.waitMs(proxy))
  }

  /** Counts a wrong password. */
  failed(origin: Origin): void {
    const proxy = suspectProxyOf(origin)
    this.#clients.spend(clientOf(origin))
    if (proxy !== undefined) this.#proxies.spend(proxy)
  }

  /** Does `work` when what the address tried before has ended, or joins it where it has the same `key`. */
  inTurn(origin: Origin, key: string, work: () => Promise<Result>): Promise<Result> {
    const client = clientOf(origin)
    return this.#running.run(JSON.stringify([client, key]), () => this.#turns.run(client, work))
  }
}

/**
 * What stands for a client: its network, and behind a proxy the proxy's as well, so that whoever says to be a proxy does
 * nothing to those that it names.
 */
export function clientOf({ address, forwardedFor }: Origin): string {
  return forwardedFor ? `${networkOf(address)} ${networkOf(forwardedFor)}` : networkOf(address)
}

/** The proxy, unless it is on this machine: nobody outside can pose as that one, and to lock it would lock everybody out. */
function suspectProxyOf({ address, forwardedFor }: Origin): string | undefined {
  return forwardedFor && !isLoopbackHost(address) ? networkOf(address) : undefined
}

/** Of IPv6 the network, since a client has as many addresses there as it likes. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1]!
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const groups = head.split(':').filter(Boolean)
  const after = tail?.split(':').filter(Boolean) ?? []
  const whole = [...groups, ...Array<string>(Math.max(0, 8 - groups.length - after.length)).fill('0'), ...after]
  return whole
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')
}
