import { isInternalAddress, isInternalHost } from '../lib/hosts.js'

/** A name that leads inside, where the upstream may not send us. */
export class ForbiddenAddressError extends Error {
  override readonly name = 'ForbiddenAddressError'

  constructor(hostname: string, address: string) {
    super(`${hostname} is at ${address}, which is inside: set allowInternal if that is meant`)
  }
}

export interface AddressGuardOptions {
  /** Of the upstream's configured URL. */
  ownHost: string
  allowInternal: boolean
}

/**
 * Keeps what an upstream says from leading to this machine, its network or a metadata service. The host that the operator
 * wrote may be anywhere; others may be inside only if that one is by its very name, or the operator allowed it.
 */
export class AddressGuard {
  readonly #ownHost: string
  readonly #open: boolean

  constructor({ ownHost, allowInternal }: AddressGuardOptions) {
    this.#ownHost = ownHost
    this.#open = allowInternal || isInternalHost(ownHost)
  }

  /** Whether a redirect or a token realm may not lead to this host, going by what is written. */
  forbids(hostname: string): boolean {
    return !this.#trusts(hostname) && isInternalHost(hostname)
  }

  /**
   * Those of the addresses of `hostname` that may be dialled, in the same order.
   *
   * @throws {ForbiddenAddressError} when there are some, and none may be
   */
  allowed<Entry extends { address: string }>(hostname: string, addresses: readonly Entry[]): readonly Entry[] {
    if (this.#trusts(hostname)) return addresses
    const outside = addresses.filter(({ address }) => !isInternalAddress(address))
    const [first] = addresses
    if (first && outside.length === 0) throw new ForbiddenAddressError(hostname, first.address)
    return outside
  }

  #trusts(hostname: string): boolean {
    return this.#open || hostname === this.#ownHost
  }
}

/** The refusal that `error` came of, if it did. */
export function forbiddenAddressIn(error: unknown): ForbiddenAddressError | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof ForbiddenAddressError) return at
  return undefined
}
