import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { globMatcher } from '../lib/glob.js'
import { type Digest, isDigest } from '../oci/digest.js'
import { type Descriptor, MANIFEST_LIMIT } from '../oci/manifest.js'
import { bareType, MANIFEST_ACCEPT } from '../oci/media-types.js'
import { parseContentRange } from '../oci/range.js'
import { printReference, type Reference, type Repository } from '../oci/reference.js'
import { type Accounts, createAccounts } from './accounts.js'
import type { BlobStream, FetchedManifest, ManifestHead } from './answers.js'
import { Asker } from './asker.js'
import { Bandwidth } from './bandwidth.js'
import { type BodyOptions, readBody, readWhole } from './body.js'
import { type Answer, Connections } from './connections.js'
import type { EgressOptions, Lookup } from './egress.js'
import { UpstreamError } from './errors.js'
import { contentLength, header } from './headers.js'
import { listReferrers, listTags } from './listings.js'
import { checkManifest, checkManifestType } from './manifest-answer.js'
import { Pace } from './pace.js'
import { discard } from './redirects.js'
import { Slots } from './slots.js'
import { TokenSource } from './token-source.js'
import { Traffic } from './traffic.js'
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
  readonly #asker: Asker

  constructor({ options, events, log, now, lookup }: RegistryClientDeps) {
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
    this.traffic = new Traffic({ registry, upstream, events, now })
    this.#connections = connections
    this.#bandwidth = bandwidthOf(egress)
    this.accounts = createAccounts({ ...options, upstream, url: base, tokens, guard, log: childLog, now })
    this.#asker = new Asker({
      upstream,
      role,
      base,
      connections,
      accounts: this.accounts,
      traffic: this.traffic,
      slots: new Slots(limit),
      now,
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
    const answer = await this.#asker.ask({ path, repository, headers: { accept: MANIFEST_ACCEPT }, signal, begun })
    const bytes = await this.#whole(answer, signal)
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
      size: contentLength(headers),
      upstream: this.name,
    }
  }

  /**
   * end-2 GET from byte `from` on. A server that ignores the Range has its known bytes dropped inside the stream; where
   * the blob has no byte from there on the stream is empty, and its size may be less than `from`.
   *
   * @throws {UpstreamError} also `lying` for a page, another range than asked for, or an encoding
   */
  async getBlob(
    repository: Repository,
    digest: Digest,
    from: number,
    signal?: AbortSignal,
    { mayLeave, begun }: BlobOptions = {},
  ): Promise<BlobStream> {
    const path = `/v2/${repository}/blobs/${digest}`
    const ending = new AbortController()
    const either = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
    const headers = from > 0 ? { range: `bytes=${from}-` } : {}
    const answer = await this.#asker.ask({
      path,
      repository,
      wanted: 'blob',
      headers,
      signal,
      begun,
      accept: from > 0 ? [416] : [],
    })
    if (answer.status === 416) {
      discard(answer)
      return this.#nothingAfter(from, await this.statBlob(repository, digest, signal))
    }
    try {
      const { size, skip } = this.#blobFacts(answer, from)
      const length = size === undefined ? undefined : size - from
      const pace = mayLeave && this.#paceOf(mayLeave)
      const body = readBody(answer, { ...this.#bodyOptions(either), skip, length, pace })
      const destroy = () => {
        ending.abort(new UpstreamError('down', 'the stream was closed', { upstream: this.name }))
        answer.body.destroy()
      }
      return { body, size, upstream: this.name, destroy }
    } catch (error) {
      discard(answer)
      throw error
    }
  }

  /** A range beyond the end (RFC 9110, 15.5.17): whoever asked for it has more than there is, or something else. */
  #nothingAfter(from: number, { size, upstream }: { size: number; upstream: string }): BlobStream {
    if (size > from) throw new UpstreamError('lying', `nothing from ${from} on of ${size} bytes`, { upstream })
    return { body: nothing(), size, upstream, destroy() {} }
  }

  /** end-2 HEAD; where that gives no length, the first byte is asked for. @throws {UpstreamError} `lying` when no size can be had */
  async statBlob(
    repository: Repository,
    digest: Digest,
    signal?: AbortSignal,
    begun?: () => void,
  ): Promise<{ size: number; upstream: string }> {
    const path = `/v2/${repository}/blobs/${digest}`
    const head = await this.#asker.ask({ method: 'HEAD', path, repository, signal, begun, accept: [405, 501] })
    discard(head)
    if (head.status === 200) {
      this.#refusePage(head)
      const size = contentLength(head.headers)
      if (size !== undefined) return { size, upstream: this.name }
    }
    const first = await this.#asker.ask({ path, repository, headers: { range: 'bytes=0-0' }, signal })
    first.body.destroy()
    const size = this.#blobFacts(first, 0).size
    if (size !== undefined) return { size, upstream: this.name }
    throw new UpstreamError('lying', 'the size of the blob cannot be had', { upstream: this.name })
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
  ): Promise<{ descriptors: Descriptor[]; filtered: boolean }> {
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

  /** Where the stream begins and how long the blob is (RFC 9110, 15.3.7). */
  #blobFacts(answer: Answer, from: number): { size: number | undefined; skip: number } {
    this.#refusePage(answer)
    if (answer.status === 200) return { size: contentLength(answer.headers), skip: from }
    const range = parseContentRange(header(answer.headers, 'content-range'))
    if (!range || range.start !== from) {
      throw new UpstreamError('lying', `another range than from ${from} on`, { upstream: this.name })
    }
    return { size: range.total, skip: 0 }
  }

  #refusePage({ headers }: Answer): void {
    const type = bareType(header(headers, 'content-type'))
    if (type === 'text/html')
      throw new UpstreamError('lying', 'a page instead of the blob', { upstream: this.name, foreign: true })
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

  #paceOf(mayLeave: () => boolean): Pace | undefined {
    const { minBytesPerSecond = 0, rateWindowMs: windowMs = RATE_WINDOW_MS } = this.options
    return minBytesPerSecond > 0 ? new Pace({ upstream: this.name, minBytesPerSecond, windowMs, mayLeave }) : undefined
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

async function* nothing(): AsyncGenerator<Buffer> {}
