import type { Logger } from 'pino'
import type { EventBus, UpstreamState } from '../events.js'
import type { Digest } from '../oci/digest.js'
import type { Descriptor } from '../oci/manifest.js'
import type { Reference, Repository, Tag } from '../oci/reference.js'
import { gatherWords, type Word } from './agreement.js'
import { BlobTransfer } from './blob-transfer.js'
import { AllUpstreamsFailedError, UpstreamError } from './errors.js'
import type { RateLimit } from './headers.js'
import { Health } from './health.js'
import { type FetchedManifest, type ManifestHead, RegistryClient, type UpstreamOptions } from './registry-client.js'
import type { TrafficFigures } from './traffic.js'
import { Upstream, worthATry } from './upstream.js'

export interface UpstreamGroupDeps {
  /** `docker.io` */
  registry: string
  /** In order of preference. */
  upstreams: readonly Upstream[]
}

export interface CreateUpstreamGroupOptions {
  registry: string
  /** In order of preference. */
  upstreams: readonly UpstreamOptions[]
  events: EventBus
  log: Logger
  now: () => number
}

/**
 * Whose word is wanted: `origins` (and mirrors that resolve `always`), `mirrors` (those that resolve as a `fallback`),
 * `all` for what a digest proves. A registry without origin has its upstreams' word, in order, as its `origins`.
 */
export type Among = 'origins' | 'mirrors' | 'all'

export interface AskingOptions {
  among: Among
  signal?: AbortSignal | undefined
}

export interface ManifestOptions extends AskingOptions {
  /** Refuses an answer: the next upstream is asked, and the one that gave it is none the worse. */
  not?: ((upstream: string, digest: Digest) => boolean) | undefined
}

/** One upstream for /stats; figures are since the start of the process. */
export interface UpstreamStanding extends TrafficFigures {
  name: string
  role: 'origin' | 'mirror'
  state: UpstreamState
  /** Why it is not up. */
  reason: string | undefined
  /** Of the account that is used now. */
  rateLimit: RateLimit | undefined
}

/** Mirrors that are asked at once what a tag is. */
const VOTERS = 3

type Ask<Answer> = (upstream: Upstream) => Promise<Answer>

/**
 * All upstreams of one registry. Every question goes to those that may answer it, in order, until one does; those that
 * are left alone for now are passed over, unless there is nobody else. Methods throw AllUpstreamsFailedError with what
 * each said, or the signal's reason.
 */
export class UpstreamGroup {
  readonly registry: string
  readonly #upstreams: readonly Upstream[]

  constructor({ registry, upstreams }: UpstreamGroupDeps) {
    this.registry = registry
    this.#upstreams = upstreams
  }

  get hasOrigin(): boolean {
    return this.#upstreams.some(isOrigin)
  }

  /** Whether at least one origin is neither out of reach nor resting. */
  originReachable(): boolean {
    return this.#upstreams.some((upstream) => isOrigin(upstream) && upstream.health.usable())
  }

  /** Whether those that resolve tags have so little left of their quotas that they should be asked less. */
  get quotaLow(): boolean {
    const resolving = this.#among('origins').filter(({ health }) => health.state === 'up')
    return resolving.length > 0 && resolving.every(({ client }) => client.accounts.quotaLow)
  }

  /** @throws {UpstreamError} an origin's own not-found of a tag, at once; for a digest the others are asked as well */
  getManifest(
    repository: Repository,
    reference: Reference,
    { among, not, signal }: ManifestOptions,
  ): Promise<FetchedManifest> {
    const ask: Ask<FetchedManifest> = async ({ client, name }) => {
      const manifest = await client.getManifest(repository, reference, signal)
      if (!not?.(name, manifest.digest)) return manifest
      throw new RefusedAnswerError('lying', 'an answer that was given up before', { upstream: name })
    }
    const final = reference.kind === 'tag'
    const upstreams = this.#among(among)
    return this.#firstAnswer(repository, final ? upstreams : sparing(upstreams), ask, { final, signal })
  }

  /** @throws {UpstreamError} an origin's own not-found, at once */
  headManifest(repository: Repository, tag: Tag, { among, signal }: AskingOptions): Promise<ManifestHead> {
    const reference: Reference = { kind: 'tag', tag }
    const ask: Ask<ManifestHead> = ({ client }) => client.headManifest(repository, reference, signal)
    return this.#firstAnswer(repository, this.#among(among), ask, { final: true, signal })
  }

  /**
   * What up to three mirrors say of a tag, asked at once; nothing where fewer than two can be asked.
   *
   * @throws the signal's reason
   */
  async wordsOn(repository: Repository, tag: Tag, signal: AbortSignal): Promise<Word[]> {
    const voters = this.#among('mirrors')
      .filter((each) => each.client.allows(repository) && !each.refusal(repository) && each.health.usable())
      .slice(0, VOTERS)
    if (voters.length < 2) return []
    const reference: Reference = { kind: 'tag', tag }
    const ask = async ({ client }: Upstream, either: AbortSignal) =>
      (await client.headManifest(repository, reference, either)).digest
    return gatherWords({ repository, voters, ask, signal })
  }

  statBlob(repository: Repository, digest: Digest, signal?: AbortSignal): Promise<{ size: number; upstream: string }> {
    const ask: Ask<{ size: number; upstream: string }> = ({ client }) => client.statBlob(repository, digest, signal)
    return this.#firstAnswer(repository, this.#upstreams, ask, { final: false, signal })
  }

  /**
   * A download of one blob from whoever has it; nothing is asked before its first `next`.
   *
   * @param sizeBytes what the blob must have, when a manifest has said so
   */
  openTransfer(repository: Repository, digest: Digest, sizeBytes?: number): BlobTransfer {
    return new BlobTransfer({ repository, digest, sizeBytes, upstreams: this.#candidates(repository, this.#upstreams) })
  }

  /** All tags, from an origin if one answers. @throws {UpstreamError} an origin's own not-found, at once */
  listTags(repository: Repository, signal?: AbortSignal): Promise<string[]> {
    const ask: Ask<string[]> = ({ client }) => client.listTags(repository, signal)
    return this.#firstAnswer(repository, this.#originsFirst(), ask, { final: true, signal })
  }

  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType?: string,
    signal?: AbortSignal,
  ): Promise<{ descriptors: Descriptor[]; filtered: boolean }> {
    const ask: Ask<{ descriptors: Descriptor[]; filtered: boolean }> = ({ client }) =>
      client.listReferrers(repository, digest, artifactType, signal)
    return this.#firstAnswer(repository, this.#originsFirst(), ask, { final: true, signal })
  }

  states(): UpstreamStanding[] {
    return this.#upstreams.map(({ name, client, health }) => ({
      name,
      role: client.options.role,
      state: health.state,
      reason: health.reason,
      ...client.traffic.figures(),
      rateLimit: client.accounts.rateLimit,
    }))
  }

  /** Ends probes, timers and connections. */
  async close(): Promise<void> {
    await Promise.all(this.#upstreams.map(({ health }) => health.close()))
    await Promise.all(this.#upstreams.map(({ client }) => client.close()))
  }

  async #firstAnswer<Answer>(
    repository: Repository,
    upstreams: readonly Upstream[],
    ask: Ask<Answer>,
    { final, signal }: { final: boolean; signal: AbortSignal | undefined },
  ): Promise<Answer> {
    const failures: UpstreamError[] = []
    for await (const upstream of inTurn(this.#candidates(repository, upstreams), repository, failures, signal)) {
      try {
        const answer = await ask(upstream)
        upstream.health.succeeded()
        return answer
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error
        if (!(error instanceof RefusedAnswerError)) upstream.failed(repository, error)
        if (final && error.authoritative) throw error
        failures.push(error)
      }
    }
    throw new AllUpstreamsFailedError(failures)
  }

  /** @throws {AllUpstreamsFailedError} when `allow` leaves nobody */
  #candidates(repository: Repository, upstreams: readonly Upstream[]): Upstream[] {
    const candidates = upstreams.filter(({ client }) => client.allows(repository))
    if (candidates.length > 0) return candidates
    const message = `no upstream of ${this.registry} is configured to be asked for ${repository}`
    throw new AllUpstreamsFailedError([new UpstreamError('denied', message, { upstream: this.registry })])
  }

  #among(among: Among): Upstream[] {
    const { hasOrigin } = this
    return this.#upstreams.filter((upstream) => {
      const { resolve } = upstream.client.options
      if (among === 'all') return true
      if (!hasOrigin) return among === 'origins' && resolve !== 'never'
      const trusted = isOrigin(upstream) || resolve === 'always'
      return among === 'origins' ? trusted : !trusted && resolve === 'fallback'
    })
  }

  #originsFirst(): Upstream[] {
    const trusted = this.#among('origins')
    return [
      ...trusted,
      ...this.#upstreams.filter(
        (upstream) => !trusted.includes(upstream) && upstream.client.options.resolve !== 'never',
      ),
    ]
  }
}

/** Builds a registry's group with a client and a health for each upstream; `close` of the group closes them. */
export function createUpstreamGroup({
  registry,
  upstreams,
  events,
  log,
  now,
}: CreateUpstreamGroupOptions): UpstreamGroup {
  const members = upstreams.map((options) => {
    const client = new RegistryClient({ options, events, log, now })
    const probe = (signal: AbortSignal) => client.ping(signal)
    const health = new Health({ registry, upstream: options.name, probe, events, log, now })
    return new Upstream({ client, health, now })
  })
  return new UpstreamGroup({ registry, upstreams: members })
}

/** An answer that the caller would not have; no fault of the upstream. */
class RefusedAnswerError extends UpstreamError {}

/** Those with enough left of their quota first: a manifest counts as a pull, whoever gives it proves it by its digest. */
function sparing(upstreams: readonly Upstream[]): Upstream[] {
  const low = upstreams.filter(({ client }) => client.accounts.quotaLow)
  return [...upstreams.filter((upstream) => !low.includes(upstream)), ...low]
}

function isOrigin({ client }: Upstream): boolean {
  return client.options.role === 'origin'
}

/**
 * Whom to ask, in order: the usable ones; then, if none of those gave so much as a refusal, those left alone for now,
 * so that nothing fails without anybody having been asked. What was passed over is added to `failures`.
 */
async function* inTurn(
  candidates: readonly Upstream[],
  repository: Repository,
  failures: UpstreamError[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Upstream> {
  const skipped: Upstream[] = []
  for (const upstream of candidates) {
    const refusal = upstream.refusal(repository)
    if (refusal) failures.push(refusal)
    else if (upstream.health.usable()) yield upstream
    else skipped.push(upstream)
  }
  const somebodySpoke = failures.some(({ kind }) => kind === 'not-found' || kind === 'denied')
  for (const upstream of skipped) {
    if (somebodySpoke) failures.push(upstream.health.skipped())
    else if (await worthATry(upstream, signal)) yield upstream
    else failures.push(upstream.health.skipped())
  }
}
