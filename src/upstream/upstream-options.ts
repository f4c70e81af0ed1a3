import type { Timeouts } from './connections.js'
import type { EgressOptions } from './egress.js'
import type { Credential } from './token-source.js'

/** How one upstream is asked. */
export interface UpstreamOptions {
  /** `docker.io` */
  registry: string
  /** `hub` */
  name: string
  /** May have a path prefix: `https://registry-1.docker.io`, `http://127.0.0.1:5001/prefix`. */
  url: string
  /** An origin's word on tags and its 404 count. */
  role: 'origin' | 'mirror'
  /** A mirror's word on tags: like an origin's, not at all, or while no origin can be reached. */
  resolve: 'always' | 'never' | 'fallback'
  /** Patterns of the repositories that it is asked for (lib/glob.ts); empty: all. */
  allow: string[]
  username?: string | undefined
  password?: string | undefined
  /** Further accounts. */
  credentials?: readonly Credential[] | undefined
  /** Token services that are trusted like the upstream's own. */
  realms?: readonly string[] | undefined
  /** Share of a quota of pulls, from 0 to 1, at which it counts as low; 0 when left out: never. */
  rateLimitReserve?: number | undefined
  timeouts: Timeouts
  /** Requests at a time; 16 when left out. */
  connections?: number | undefined
  /** Of one large blob, so many parts at a time; 4 when left out. */
  segmentsAtOnce?: number | undefined
  /** Below it a blob is fetched elsewhere, if possible; 0 or left out: however slow. */
  minBytesPerSecond?: number | undefined
  /** Over how much waiting for a blob that is measured, milliseconds; 5000 when left out. */
  rateWindowMs?: number | undefined
  egress?: EgressOptions | undefined
}

/** Where a registry has redirected to for one blob, so that its other parts are fetched from there at once. Holds signatures: never told. */
export interface KnownRedirect {
  target?: URL | undefined
}

/** Of one question for a blob. */
export interface BlobOptions {
  /** The first byte that is not wanted; the rest of the blob when left out. */
  to?: number | undefined
  /** Of the whole blob, bytes, where that is known: for one who refuses a range without an end. */
  sizeBytes?: number | undefined
  /** Asks for the whole, and drops what comes before the first byte that is wanted. */
  noRange?: boolean
  /**
   * For one that compresses although identity is asked for: taken as it is, which it may be all the same, where its length
   * is not known to be another, or else undone.
   */
  encoded?: 'as-is' | 'undone' | undefined
  /** Whether the whole in place of a range is of no use. */
  rangeOnly?: boolean
  redirect?: KnownRedirect | undefined
  /** Whether there is somewhere better to go when it comes too slowly; never when left out. */
  mayLeave?: (() => boolean) | undefined
  /** Told when the request's turn has come and it is sent. */
  begun?: (() => void) | undefined
}
