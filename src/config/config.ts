import type { AuthConfig } from './auth.js'
import type { EgressConfig } from './egress.js'

/** The whole configuration, deeply frozen; `mirrors.yaml` says what each key does. */
export interface Config {
  server: { host: string; port: number }
  storage: {
    /** Absolute. */
    path: string
    maxSizeBytes: number
    /** Share of `maxSizeBytes` at which eviction stops: above 0, at most 1. */
    lowWatermark: number
    /** Bytes of small blobs and manifests that are held in memory; 0 for none. */
    memoryBytes: number
  }
  /** In the order of the file; exactly one is the default. */
  registries: RegistryConfig[]
  local: {
    namespaces: string[]
    /** Of what a manifest names, what may be absent. */
    sparse: 'none' | 'indexes' | 'all'
    /** Bytes of the disk that uploads leave. */
    minFreeBytes: number
    uploads: UploadsConfig
    /** Tags that are neither moved nor deleted by request. */
    immutableTags: { repositories: string; tags: string[] }[]
  }
  gc: {
    /** From one run to the next; 0: never by itself. */
    everyMs: number
    graceMs: number
    retention: RetentionConfig[]
  }
  /** `undefined` when the key is absent: pushes come from loopback only. */
  auth: AuthConfig | undefined
  upstream: {
    firstHeaderBudgetMs: number
    revalidationBudgetMs: number
    /** Bytes. */
    segments: { size: number; minBlob: number }
  }
  prefetch: {
    /** Whether a client's GET of a manifest makes what it leads to be fetched. */
    blobs: boolean
    /** Pieces of work at once, all registries together. */
    concurrency: number
    /** Nothing new is begun while so many downloads run that clients have asked for. */
    clientDownloads: number
    hotTags: boolean
    /** So often within a day a tag must be asked for to be hot. */
    hotAfter: number
    /** Of hot tags, for each registry. */
    checksPerMinute: number
  }
  log: { level: LogLevel; access: boolean }
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/** One registry that is read through, and who is asked for it. */
export interface RegistryConfig {
  /** `host` or `host:port`, lower case. */
  name: string
  default: boolean
  /** Other names that clients know it by. */
  aliases: string[]
  tags: {
    ttlMs: number
    staleIfErrorMs: number
    originHoldMs: number
    staleWhileRevalidateMs: number
    /** What an origin's 404 of a known tag does. */
    whenGone: WhenGone
    /** The first that matches counts. */
    rules: TagRuleConfig[]
  }
  negativeTtlMs: number
  /** Whether its repositories take pushes of referrers. */
  attach: boolean
  /** In order of preference, never empty, names unique. */
  upstreams: UpstreamConfig[]
}

export interface UploadsConfig {
  /** An upload that nobody has continued for so long is given up. */
  expireMs: number
  /** Open uploads of one client; 0: any number. */
  perClient: number
  /** What clients are asked to send at least in a chunk, bytes; 0: nothing is asked. */
  chunkMinLength: number
}

/** What is kept of the repositories that match. */
export interface RetentionConfig {
  repositories: string
  keepLast?: number
  keepTags: string[]
  olderThanMs?: number
  untaggedMs?: number
}

export type WhenGone = 'serve' | 'forget'

/** What holds for the tags that match; an absent limit is as for every tag. */
export interface TagRuleConfig {
  match: string
  repository?: string
  immutable: boolean
  ttlMs?: number
  staleIfErrorMs?: number
  whenGone?: WhenGone
}

/** One server that is asked for a registry's content. */
export interface UpstreamConfig {
  name: string
  /** http or https, without trailing slash, credentials, query or fragment. */
  url: string
  role: 'origin' | 'mirror'
  /** Whether a mirror's word on tags counts; an origin's always does. */
  resolve: 'always' | 'never' | 'fallback'
  /** Repository patterns that it is asked for: `*` within a path component, `**` across; empty: every repository. */
  allow: string[]
  username?: string
  password?: string
  /** Further accounts, taken in turn; absent when there is none. */
  credentials?: { username: string; password: string }[]
  /** Hosts of token services that are trusted like the upstream's own: `auth.example.com`, `http://10.0.0.5:5001`. */
  realms: string[]
  /** Share of the quota of pulls from which on the upstream is spared; 0: never. */
  rateLimitReserve: number
  timeouts: { connectMs: number; firstByteMs: number; idleMs: number }
  /** Requests that it is asked at a time, bodies included. */
  connections: number
  /** Streams of one blob at a time; 0: only where no other is running. */
  segmentsAtOnce: number
  /** Below it a blob is fetched from another upstream, if there is one; 0: however slow. */
  minBytesPerSecond: number
  egress: EgressConfig
}
