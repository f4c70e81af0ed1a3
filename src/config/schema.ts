import { z } from 'zod'
import { authSchema } from './auth.js'
import { egressKeys } from './egress.js'
import { parseListen } from './listen.js'
import { count, duration, flag, percent, quantity, scalar, share, size } from './scalars.js'
import { upstreamUrl } from './upstream-url.js'

/** Node's timers fire at once beyond 2^31 - 1 ms (24.8 days), so what becomes a timer stays well below. */
const limit = () => duration({ above: 0, most: { ms: 86_400_000, text: '24h' } })

const timeouts = { connect: limit(), firstByte: limit(), idle: limit() }

const connections = () => count({ least: 1, most: 64 })
const perUpstream = () => count({ least: 0, most: 64 })

const REPOSITORY_PATTERN = /^[a-z0-9._*-]+(\/[a-z0-9._*-]+)*$/
const repositoryPattern = () => scalar(REPOSITORY_PATTERN, 'a repository pattern such as library/* or org/**')

const tagPattern = () => scalar(/^[A-Za-z0-9_.*-]{1,128}$/, 'a pattern of a tag such as v* or *-nightly')

const whenGone = z.enum(['serve', 'forget'])

const account = {
  username: z.string().optional(),
  usernameFile: z.string().optional(),
  password: z.string().optional(),
  passwordFile: z.string().optional(),
}

const upstream = z.strictObject({
  name: scalar(
    /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/,
    'a name of at most 64 letters, digits, ".", "_", ":" and "-"',
  ).optional(),
  url: quantity(upstreamUrl),
  role: z.enum(['origin', 'mirror']).default('mirror'),
  resolve: z.enum(['always', 'never', 'fallback']).default('fallback'),
  allow: z.array(repositoryPattern()).default([]),
  ...account,
  credentials: z.array(z.strictObject(account)).default([]),
  realms: z
    .array(scalar(/^(https?:\/\/)?[a-z0-9_.-]+(:\d{1,5})?$/, 'the host of a token service, such as auth.example.com'))
    .default([]),
  rateLimitReserve: share().prefault('10%'),
  timeouts: z
    .strictObject({
      connect: timeouts.connect.optional(),
      firstByte: timeouts.firstByte.optional(),
      idle: timeouts.idle.optional(),
    })
    .prefault({}),
  connections: connections().optional(),
  minRate: size().optional(),
  segments: z.strictObject({ perUpstream: perUpstream().optional() }).prefault({}),
  ...egressKeys,
})

const registry = z.strictObject({
  default: flag().optional(),
  aliases: z.array(z.string()).default([]),
  tags: z
    .strictObject({
      ttl: duration().prefault('5m'),
      staleIfError: duration().prefault('30d'),
      originHold: duration().prefault('24h'),
      staleWhileRevalidate: duration().prefault('0s'),
      whenGone: whenGone.default('serve'),
      rules: z
        .array(
          z.strictObject({
            match: tagPattern(),
            repository: repositoryPattern().optional(),
            immutable: flag().default(false),
            ttl: duration().optional(),
            staleIfError: duration().optional(),
            whenGone: whenGone.optional(),
          }),
        )
        .default([]),
    })
    .prefault({}),
  negativeTtl: duration().prefault('30s'),
  attach: flag().default(false),
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
  local: z
    .strictObject({
      namespaces: z.array(z.string()).default(['local']),
      sparse: z.enum(['none', 'indexes', 'all']).default('none'),
      minFree: size().prefault('16MiB'),
      uploads: z
        .strictObject({
          expire: duration({ above: 0 }).prefault('24h'),
          perClient: count({ least: 0, most: 10_000 }).prefault('1000'),
          chunkMinLength: size().prefault('0B'),
        })
        .prefault({}),
      immutableTags: z
        .array(
          z.strictObject({
            repositories: repositoryPattern(),
            tags: z
              .array(tagPattern())
              .min(1, 'no tags: list at least one pattern, or leave the key out')
              .default(['*']),
          }),
        )
        .default([]),
    })
    .prefault({}),
  gc: z
    .strictObject({
      every: duration().prefault('24h'),
      grace: duration({ least: { ms: 60_000, text: '1m' } }).prefault('1h'),
      retention: z
        .array(
          z.strictObject({
            repositories: repositoryPattern(),
            keepLast: count({ least: 0, most: 1_000_000 }).optional(),
            keepTags: z.array(tagPattern()).default([]),
            olderThan: duration().optional(),
            untagged: duration().optional(),
          }),
        )
        .default([]),
    })
    .prefault({}),
  auth: authSchema.optional(),
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
      connections: connections().prefault('16'),
      minRate: size().prefault('16KiB'),
      segments: z
        .strictObject({
          size: size({ above: 0 }).prefault('4MiB'),
          minBlob: size({ above: 0 }).prefault('16MiB'),
          perUpstream: perUpstream().prefault('4'),
        })
        .prefault({}),
      ...egressKeys,
    })
    .prefault({}),
  prefetch: z
    .strictObject({
      blobs: flag().default(false),
      concurrency: count({ least: 1, most: 100 }).prefault('3'),
      clientDownloads: count({ least: 1, most: 1000 }).prefault('3'),
      hotTags: flag().default(true),
      hotAfter: count({ least: 1, most: 100 }).prefault('3'),
      checksPerMinute: count({ least: 1, most: 1000 }).prefault('10'),
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
