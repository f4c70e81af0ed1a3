import { z } from 'zod'
import { parseListen } from './listen.js'
import { duration, flag, percent, quantity, scalar, size } from './scalars.js'
import { upstreamUrl } from './upstream-url.js'

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
  local: { namespaces: string[] }
  /** `undefined` when the key is absent: pushes come from loopback only. */
  auth: { anonymous: ('pull' | 'push')[] } | undefined
  upstream: { firstHeaderBudgetMs: number; revalidationBudgetMs: number }
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
  tags: { ttlMs: number; staleIfErrorMs: number; originHoldMs: number }
  negativeTtlMs: number
  /** In order of preference, never empty, names unique. */
  upstreams: UpstreamConfig[]
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
  timeouts: { connectMs: number; firstByteMs: number; idleMs: number }
}

/** Node's timers fire at once beyond 2^31 - 1 ms (24.8 days), so what becomes a timer stays well below. */
const limit = () => duration({ above: 0, most: { ms: 86_400_000, text: '24h' } })

const timeouts = { connect: limit(), firstByte: limit(), idle: limit() }

const upstream = z.strictObject({
  name: scalar(
    /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/,
    'a name of at most 64 letters, digits, ".", "_", ":" and "-"',
  ).optional(),
  url: quantity(upstreamUrl),
  role: z.enum(['origin', 'mirror']).default('mirror'),
  resolve: z.enum(['always', 'never', 'fallback']).default('fallback'),
  allow: z
    .array(scalar(/^[a-z0-9._*-]+(\/[a-z0-9._*-]+)*$/, 'a repository pattern such as library/* or org/**'))
    .default([]),
  username: z.string().optional(),
  usernameFile: z.string().optional(),
  password: z.string().optional(),
  passwordFile: z.string().optional(),
  timeouts: z
    .strictObject({
      connect: timeouts.connect.optional(),
      firstByte: timeouts.firstByte.optional(),
      idle: timeouts.idle.optional(),
    })
    .prefault({}),
})

const registry = z.strictObject({
  default: flag().optional(),
  aliases: z.array(z.string()).default([]),
  tags: z
    .strictObject({
      ttl: duration().prefault('5m'),
      staleIfError: duration().prefault('30d'),
      originHold: duration().prefault('24h'),
    })
    .prefault({}),
  negativeTtl: duration().prefault('30s'),
  upstreams: z.array(upstream).min(1, 'no upstreams: list at least one, or leave the key out'),
})

/** The shape of `mirrors.yaml`, keys and units as written there. What spans several keys is checked in `rules.ts`. */
export const fileSchema = z.strictObject({
  server: z.strictObject({ listen: quantity(parseListen).prefault('0.0.0.0:5000') }).prefault({}),
  storage: z
    .strictObject({
      path: z.string().min(1, 'an empty path').default('./data'),
      maxSize: size({ above: 0 }).prefault('50GiB'),
      lowWatermark: percent().prefault('90%'),
      memory: size().prefault('64MiB'),
    })
    .prefault({}),
  registries: z.record(z.string(), registry),
  local: z.strictObject({ namespaces: z.array(z.string()).default(['local']) }).prefault({}),
  auth: z.strictObject({ anonymous: z.array(z.enum(['pull', 'push'])).default(['pull']) }).optional(),
  upstream: z
    .strictObject({
      timeouts: z
        .strictObject({
          connect: timeouts.connect.prefault('3s'),
          firstByte: timeouts.firstByte.prefault('10s'),
          idle: timeouts.idle.prefault('10s'),
        })
        .prefault({}),
      firstHeaderBudget: limit().prefault('20s'),
      revalidationBudget: limit().prefault('2s'),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
      access: flag().default(true),
    })
    .prefault({}),
})

/** A file that has passed the schema, defaults filled in, units resolved. */
export type FileConfig = z.output<typeof fileSchema>
