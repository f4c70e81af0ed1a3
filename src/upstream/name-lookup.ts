import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import { SingleFlight } from '../lib/single-flight.js'
import type { Address } from './dial.js'

export type Lookup = (hostname: string, options: { all: true; family: 0 | 4 | 6 }) => Promise<Address[]>

/** After so long without the system's answer the name servers are asked beside it. */
const LATE_MS = 300
const DIRECT_LIMIT_MS = 3000

/**
 * Finds a name's addresses. The system's way (getaddrinfo) knows hosts files and search domains, but runs two look-ups of
 * the whole process at a time: two names whose servers are silent make every other one wait. So a name that is late is asked
 * for directly as well, and one that is being looked up is not looked up again.
 */
export class NameLookup {
  readonly #system: Lookup
  readonly #flights = new SingleFlight<Address[]>()

  constructor({ system }: { system: Lookup }) {
    this.#system = system
  }

  /** @throws what the system says */
  find(hostname: string, family: 0 | 4 | 6): Promise<Address[]> {
    const flight = this.#flights.run(hostname, () => this.#system(hostname, { all: true, family }))
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        // What has no answer here may be a name of the hosts file: the system's word is waited for.
        askDirectly(hostname, family).then(resolve, () => undefined)
      }, LATE_MS)
      flight.then(resolve, reject).finally(() => clearTimeout(late))
    })
  }
}

/** IPv4 first: on this way it is not known whether there is a route for IPv6. @throws when there is no address */
async function askDirectly(hostname: string, family: 0 | 4 | 6): Promise<Address[]> {
  // A new one reads resolv.conf anew.
  const resolver = new Resolver({ timeout: DIRECT_LIMIT_MS, tries: 1 })
  const asked = [
    ...(family === 6 ? [] : [resolver.resolve4(hostname)]),
    ...(family === 4 ? [] : [resolver.resolve6(hostname)]),
  ]
  const answers = await Promise.allSettled(asked)
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
  if (found.length === 0) throw new Error(`no address of ${hostname}`)
  return found.map((address) => ({ address, family: isIP(address) }))
}
