import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { globMatcher } from '../lib/glob.js'
import { type Digest, isDigest } from '../oci/digest.js'
import { MANIFEST_LIMIT } from '../oci/manifest.js'
import { MANIFEST_ACCEPT } from '../oci/media-types.js'
import { printReference, type Reference, type Repository } from '../oci/reference.js'
import { type Accounts, createAccounts } from './accounts.js'
import type { BlobStream, FetchedManifest, FetchedReferrers, ManifestHead } from './answers.js'
import { Asker } from './asker.js'
import { Bandwidth } from './bandwidth.js'
import { BlobRequests } from './blob-requests.js'
import { type BodyOptions, readWhole } from './body.js'
import { type Answer, Connections } from './connections.js'
import type { EgressOptions } from './egress.js'
import { gunzipped } from './encoding.js'
import { contentLength, encodingOf, header } from './headers.js'
import { listReferrers, listTags } from './listings.js'
import { checkManifest, checkManifestType } from './manifest-answer.js'
import type { Lookup } from './name-lookup.js'
import { discard } from './redirects.js'
import { Slots } from './slots.js'
import { TokenSource } from './token-source.js'
import { Traffic, type TrafficCounts } from './traffic.js'
import type { BlobOptions, UpstreamOptions } from './upstream-options.js'

export type { BlobStream, FetchedManifest, ManifestHead } from './answers.js'
export type { UpstreamOptions } from './upstream-options.js'

const CONNECTIONS = 16
const RATE_WINDOW_MS = 5000

export interface RegistryClientDeps {
  options: UpstreamOptions
  events: EventBus
  log: Logger
  now: () => number
  /** What an earlier client of this name has counted. */
  counts?: TrafficCounts | undefined
  /** Instead of the system's look-up of names. */
  lookup?: Lookup | undefined
}

/**
 * One upstream's pull side, over connections of its own. It judges answers and keeps figures, but does not choose,
 * retry or rest: that is the group's. Every method throws `UpstreamError` with the kind that its docstring says,
 * or the signal's reason when that aborts.
 */
export class RegistryClient {
  readonly options: UpstreamOptions
  readonly traffic: Traffic
  readonly accounts: Accounts
  /** Whether it is asked for a repository at all. */
  readonly allows: (repository: string) => boolean
  readonly #connections: Connections
  readonly #bandwidth: Bandwidth | undefined
  readonly #slots: Slots
  readonly #asker: Asker
  readonly #blobs: BlobRequests

  constructor({ options, events, log, now, counts, lookup }: RegistryClientDeps) {
    const { registry, name: upstream, role, timeouts, connections: limit = CONNECTIONS, egress } = options
    const base = new URL(options.url)
    const connections = new Connections({
      upstream,
      ownHost: base.hostname,
      timeouts,
      connections: limit,
      egress,
      lookup,
    })
    const { dispatcher, guard } = connections
    const tokens = new TokenSource({ now, timeoutMs: timeouts.connectMs + timeouts.firstByteMs, dispatcher })
    const childLog = log.child({ module: 'upstream', registry, upstream })
    this.options = options
    this.allows = globMatcher(options.allow)
    this.traffic = new Traffic({ registry, upstream, events, now, counts })
    this.#connections = connections
    this.#bandwidth = bandwidthOf(egress)
    this.accounts = createAccounts({ ...options, upstream, url: base, tokens, guard, log: childLog, now })
    this.#slots = new Slots(limit)
    this.#asker = new Asker({
      upstream,
      role,
      base,
      connections,
      accounts: this.accounts,
      traffic: this.traffic,
      slots: this.#slots,
      now,
    })
    this.#blobs = new BlobRequests({
      upstream,
      asker: this.#asker,
      bodyOptions: (signal) => this.#bodyOptions(signal),
      minBytesPerSecond: options.minBytesPerSecond ?? 0,
      rateWindowMs: options.rateWindowMs ?? RATE_WINDOW_MS,
    })
  }

  get name(): string {
    return this.options.name
  }

  /** end-3 GET; `begun` is told when its turn has come. @throws {UpstreamError} also `lying` when it is no manifest or not the one asked for */
  async getManifest(
    repository: Repository,
    reference: Reference,
    signal?: AbortSignal,
    begun?: () => void,
  ): Promise<FetchedManifest> {
    const path = `/v2/${repository}/manifests/${printReference(reference)}`
    const headers = { accept: MANIFEST_ACCEPT }
    const answer = await this.#asker.ask({ path, repository, headers, encoded: true, signal, begun })
    const whole = await this.#whole(answer, signal)
    const bytes = encodingOf(answer) === 'gzip' ? gunzipped(whole, MANIFEST_LIMIT, this.name) : whole
    const checked = checkManifest({
      reference,
      bytes,
      contentType: header(answer.headers, 'content-type'),
      digestHeader: header(answer.headers, 'docker-content-digest'),
      upstream: this.name,
    })
    return { ...checked, bytes, upstream: this.name }
  }

  /** end-3 HEAD: what the upstream says of a manifest, unchecked but for a page in its place. */
  async headManifest(
    repository: Repository,
    reference: Reference,
    signal?: AbortSignal,
    begun?: () => void,
  ): Promise<ManifestHead> {
    const path = `/v2/${repository}/manifests/${printReference(reference)}`
    const answer = await this.#asker.ask({
      method: 'HEAD',
      path,
      repository,
      headers: { accept: MANIFEST_ACCEPT },
      encoded: true,
      signal,
      begun,
    })
    discard(answer)
    const { headers } = answer
    const mediaType = checkManifestType(header(headers, 'content-type'), this.name)
    const digest = header(headers, 'docker-content-digest') ?? ''
    return {
      digest: isDigest(digest) ? digest : undefined,
      mediaType,
      size: encodingOf(answer) === 'identity' ? contentLength(headers) : undefined,
      upstream: this.name,
    }
  }

  /** The bytes of a blob from `from` on (blob-requests.ts). */
  getBlob(
    repository: Repository,
    digest: Digest,
    from: number,
    signal?: AbortSignal,
    options: BlobOptions = {},
  ): Promise<BlobStream> {
    return this.#blobs.get(repository, digest, from, signal, options)
  }

  /** The size of a blob (blob-requests.ts). */
  statBlob(
    repository: Repository,
    digest: Digest,
    signal?: AbortSignal,
    begun?: () => void,
  ): Promise<{ size: number; upstream: string }> {
    return this.#blobs.stat(repository, digest, signal, begun)
  }

  /** Whether a request for a blob would be sent at once. */
  get hasRoom(): boolean {
    return this.#slots.hasRoom('blob')
  }

  /** end-8: all pages. */
  listTags(repository: Repository, signal?: AbortSignal): Promise<string[]> {
    return listTags(this.#listing(repository, signal))
  }

  /** end-12: all pages; where the upstream has no referrers API, from the tag that stands in for it. */
  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType?: string,
    signal?: AbortSignal,
  ): Promise<FetchedReferrers> {
    return listReferrers(this.#listing(repository, signal), digest, artifactType)
  }

  /** end-1: whether it is alive: any answer below 500 but 429 is. @throws {UpstreamError} `down`, `slow` or `limited` */
  async ping(signal?: AbortSignal): Promise<void> {
    const answer = await this.#asker.ask({ path: '/v2/', repository: '', signal, anyBelow500: true })
    discard(answer)
  }

  async close(): Promise<void> {
    await this.#connections.close()
  }

  #listing(repository: Repository, signal: AbortSignal | undefined) {
    return {
      asker: this.#asker,
      read: (answer: Answer) => this.#whole(answer, signal),
      repository,
      upstream: this.name,
      signal,
    }
  }

  #whole(answer: Answer, signal: AbortSignal | undefined): Promise<Buffer> {
    return readWhole(answer, MANIFEST_LIMIT, { ...this.#bodyOptions(signal), length: contentLength(answer.headers) })
  }

  #bodyOptions(signal: AbortSignal | undefined): Omit<BodyOptions, 'length'> {
    return {
      upstream: this.name,
      idleMs: this.options.timeouts.idleMs,
      signal,
      bandwidth: this.#bandwidth,
      failure: (cause) => this.#connections.failure(cause),
      ended: (bytes, durationMs) => this.traffic.received(bytes, durationMs),
    }
  }
}

function bandwidthOf({ maxBytesPerSecond }: EgressOptions = {}): Bandwidth | undefined {
  const now = () => performance.now()
  return maxBytesPerSecond === undefined ? undefined : new Bandwidth({ bytesPerSecond: maxBytesPerSecond, now })
}
