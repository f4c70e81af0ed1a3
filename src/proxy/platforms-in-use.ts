import { LRUCache } from 'lru-cache'
import type { Digest } from '../oci/digest.js'
import type { Descriptor, Manifest } from '../oci/manifest.js'

const LATELY_MS = 7 * 24 * 3_600_000
const MANIFESTS_LIMIT = 20_000
const PLATFORMS_LIMIT = 100

/**
 * For which platforms a registry's images are pulled: those of which a manifest was asked for within a week. An index
 * says what platform each of its manifests is for, so nothing is known before an index and one of its manifests were asked for.
 */
export class PlatformsInUse {
  readonly #now: () => number
  readonly #platformOf = new LRUCache<Digest, string>({ max: MANIFESTS_LIMIT })
  readonly #askedAt = new LRUCache<string, number>({ max: PLATFORMS_LIMIT })

  constructor({ now }: { now: () => number }) {
    this.#now = now
  }

  /** Learns from an index what its manifests are for. */
  learn({ manifests }: Manifest): void {
    for (const descriptor of manifests) {
      const platform = platformOf(descriptor)
      if (platform) this.#platformOf.set(descriptor.digest, platform)
    }
  }

  /** A client has asked for this manifest. */
  asked(digest: Digest): void {
    const platform = this.#platformOf.get(digest)
    if (platform) this.#askedAt.set(platform, this.#now())
  }

  /** The manifests of an index that are for a platform in use. */
  among({ manifests }: Manifest): Descriptor[] {
    const since = this.#now() - LATELY_MS
    return manifests.filter((descriptor) => {
      const askedAt = this.#askedAt.peek(platformOf(descriptor) ?? '')
      return askedAt !== undefined && askedAt >= since
    })
  }
}

/** All that tells images apart; `undefined` for what is for no platform, such as an attestation ("unknown"). */
function platformOf({ platform }: Descriptor): string | undefined {
  const { os, architecture, variant, 'os.version': version } = platform ?? {}
  if (typeof os !== 'string' || typeof architecture !== 'string' || architecture === 'unknown') return undefined
  return [os, architecture, variant, version].filter((part) => typeof part === 'string').join('/')
}
