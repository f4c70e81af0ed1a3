import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import type { Digest } from '../oci/digest.js'
import type { Reference, Repository, Tag } from '../oci/reference.js'
import { gatherWords, type Word } from './agreement.js'
import type { FetchedReferrers } from './answers.js'
import { BlobTransfer } from './blob-transfer.js'
import { AllUpstreamsFailedError, RefusedAnswerError, UpstreamError } from './errors.js'
import { firstAnswer, type Inquiry } from './first-answer.js'
import { preferenceOf, trialOf, type Wanted } from './preference.js'
import type { FetchedManifest, ManifestHead, UpstreamOptions } from './registry-client.js'
import { type Upstream, type UpstreamStanding, using } from './upstream.js'
import { UpstreamList } from './upstream-list.js'

export interface UpstreamGroupDeps {
  /** `docker.io` */
  registry: string
  list: UpstreamList
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

/** Mirrors that are asked at once what a tag is. */
const VOTERS = 3

type Ask<Answer> = Inquiry<Answer>['ask']

/**
 * All upstreams of one registry. Every question goes to those that may answer it, in order, until one does; those that
 * are left alone for now are passed over, unless there is nobody else. Methods throw AllUpstreamsFailedError with what
 * each said, or the signal's reason.
 */
export class UpstreamGroup {
  readonly registry: string
  readonly #list: UpstreamList
  /** The order given last, so that near-equals do not take turns. */
  #preference = noPreference()

  constructor({ registry, list }: UpstreamGroupDeps) {
    this.registry = registry
    this.#list = list
  }

  /**
   * Other upstreams, in order of preference. New questions are theirs at once; what is under way goes on with those it
   * began with, and a download with these as well.
   */
  configure(upstreams: readonly UpstreamOptions[]): void {
    this.#list.replace(upstreams)
    this.#preference = noPreference()
  }

  get hasOrigin(): boolean {
    return this.#upstreams.some(isOrigin)
  }

  /** Whether anybody here may be asked for the repository. */
  allows(repository: Repository): boolean {
    return this.#upstreams.some(({ client }) => client.allows(repository))
  }

  /** @throws {AllUpstreamsFailedError} when `allow` leaves nobody who may be asked for the repository */
  checkAllowed(repository: Repository): void {
    this.#candidates(repository, this.#upstreams)
  }

  /** Whether an upstream of that name is one of these, and may be asked for the repository. */
  mayAsk(name: string | undefined, repository: Repository): boolean {
    return this.#upstreams.some((upstream) => upstream.name === name && upstream.client.allows(repository))
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
    const ask: Ask<FetchedManifest> = async ({ client, name }, either, begun) => {
      const manifest = await client.getManifest(repository, reference, either, begun)
      if (!not?.(name, manifest.digest)) return manifest
      throw new RefusedAnswerError('lying', 'an answer that was given up before', { upstream: name })
    }
    if (reference.kind === 'tag') return this.#word(repository, ask, { among, signal })
    const upstreams = this.#among(among, this.#preferred('manifest', repository))
    return this.#firstAnswer(repository, sparing(upstreams), ask, { final: false, equals: upstreams, signal })
  }

  /** @throws {UpstreamError} an origin's own not-found, at once */
  headManifest(repository: Repository, tag: Tag, { among, signal }: AskingOptions): Promise<ManifestHead> {
    const reference: Reference = { kind: 'tag', tag }
    const ask: Ask<ManifestHead> = ({ client }, either, begun) =>
      client.headManifest(repository, reference, either, begun)
    return this.#word(repository, ask, { among, signal })
  }

  /**
   * What up to three mirrors say of a tag, asked at once; nothing where fewer than two can be asked.
   *
   * @throws the signal's reason
   */
  async wordsOn(repository: Repository, tag: Tag, signal: AbortSignal): Promise<Word[]> {
    const voters = this.#voters('mirrors', repository).slice(0, VOTERS)
    return voters.length < 2 ? [] : this.#wordsOf(voters, repository, tag, signal)
  }

  /**
   * What those say of a tag whose word counts as much as that of `upstream`: up to two that are not it, asked at once.
   *
   * @throws the signal's reason
   */
  async wordsBeside(upstream: string, repository: Repository, tag: Tag, signal: AbortSignal): Promise<Word[]> {
    const voters = this.#voters('origins', repository).filter(({ name }) => name !== upstream)
    return this.#wordsOf(voters.slice(0, VOTERS - 1), repository, tag, signal)
  }

  statBlob(repository: Repository, digest: Digest, signal?: AbortSignal): Promise<{ size: number; upstream: string }> {
    const ask: Ask<{ size: number; upstream: string }> = ({ client }, either, begun) =>
      client.statBlob(repository, digest, either, begun)
    const upstreams = this.#preferred('manifest', repository)
    return this.#firstAnswer(repository, upstreams, ask, { final: false, equals: upstreams, signal })
  }

  /**
   * A download of one blob from whoever has it; nothing is asked before its first `next`. The caller closes it.
   *
   * @param sizeBytes what the blob must have, when a manifest has said so
   */
  openTransfer(repository: Repository, digest: Digest, sizeBytes?: number): BlobTransfer {
    const upstreams = this.#candidates(repository, this.#preferred('blob', repository))
    const joining = () => this.#upstreams.filter(({ client }) => client.allows(repository))
    return new BlobTransfer({ repository, digest, sizeBytes, upstreams, joining })
  }

  /** All tags, from an origin if one answers. @throws {UpstreamError} an origin's own not-found, at once */
  listTags(repository: Repository, signal?: AbortSignal): Promise<string[]> {
    const ask: Ask<string[]> = ({ client }) => client.listTags(repository, signal)
    return this.#firstAnswer(repository, this.#originsFirst(), ask, { final: true, equals: [], signal })
  }

  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType?: string,
    signal?: AbortSignal,
  ): Promise<FetchedReferrers> {
    const ask: Ask<FetchedReferrers> = ({ client }) => client.listReferrers(repository, digest, artifactType, signal)
    return this.#firstAnswer(repository, this.#originsFirst(), ask, { final: true, equals: [], signal })
  }

  states(): UpstreamStanding[] {
    return this.#upstreams.map((upstream) => upstream.standing())
  }

  /** Ends probes, timers and connections. */
  async close(): Promise<void> {
    await this.#list.close()
  }

  get #upstreams(): readonly Upstream[] {
    return this.#list.current
  }

  async #firstAnswer<Answer>(
    repository: Repository,
    upstreams: readonly Upstream[],
    ask: Ask<Answer>,
    { final, equals, signal }: { final: boolean; equals: readonly Upstream[]; signal: AbortSignal | undefined },
  ): Promise<Answer> {
    const candidates = this.#candidates(repository, upstreams)
    const alone = this.#upstreams.length === 1
    return using(candidates, () => firstAnswer({ repository, candidates, ask, final, equals, alone, signal }))
  }

  /** All, those that have shown to be clearly better first; only for what a digest proves. */
  #preferred(wanted: Wanted, repository: Repository): Upstream[] {
    const measured = this.#upstreams.map(({ client }) => client.traffic.measured(wanted))
    const last = this.#preference[wanted]
    last.order = preferenceOf(measured, last.order)
    const canBeAsked = (upstream: Upstream | undefined) =>
      upstream?.client.allows(repository) && upstream.health.state === 'up' && !upstream.refusal(repository)
    const open = last.order.filter((index) => canBeAsked(this.#upstreams[index]))
    const trial = trialOf(open, measured, last.times++)
    const order = trial === undefined ? last.order : [trial, ...last.order.filter((index) => index !== trial)]
    return outrunLast(order.map((index) => this.#upstreams[index] as Upstream))
  }

  /** @throws {AllUpstreamsFailedError} when `allow` leaves nobody */
  #candidates(repository: Repository, upstreams: readonly Upstream[]): Upstream[] {
    const candidates = upstreams.filter(({ client }) => client.allows(repository))
    if (candidates.length > 0) return candidates
    const message = `no upstream of ${this.registry} is configured to be asked for ${repository}`
    throw new AllUpstreamsFailedError([new UpstreamError('denied', message, { upstream: this.registry })])
  }

  /** What a tag is, as configured: never of whoever is quicker, but where one origin is as good as the other. */
  #word<Answer>(repository: Repository, ask: Ask<Answer>, { among, signal }: AskingOptions): Promise<Answer> {
    const upstreams = this.#among(among)
    return this.#firstAnswer(repository, upstreams, ask, { final: true, equals: upstreams.filter(isOrigin), signal })
  }

  /** Those who can be asked without waiting. */
  #voters(among: Among, repository: Repository): Upstream[] {
    return this.#among(among).filter(
      (each) => each.client.allows(repository) && !each.refusal(repository) && each.health.usable(),
    )
  }

  async #wordsOf(voters: readonly Upstream[], repository: Repository, tag: Tag, signal: AbortSignal): Promise<Word[]> {
    if (voters.length === 0) return []
    const reference: Reference = { kind: 'tag', tag }
    const ask = async ({ client }: Upstream, either: AbortSignal) =>
      (await client.headManifest(repository, reference, either)).digest
    return using(voters, () => gatherWords({ repository, voters, ask, signal }))
  }

  #among(among: Among, upstreams = this.#upstreams): Upstream[] {
    const { hasOrigin } = this
    return upstreams.filter((upstream) => {
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
  const group = new UpstreamGroup({ registry, list: new UpstreamList({ registry, events, log, now }) })
  group.configure(upstreams)
  return group
}

function noPreference(): Record<Wanted, { order: number[]; times: number }> {
  return { manifest: { order: [], times: 0 }, blob: { order: [], times: 0 } }
}

/** Those with enough left of their quota first: a manifest counts as a pull, whoever gives it proves it by its digest. */
function sparing(upstreams: readonly Upstream[]): Upstream[] {
  const low = upstreams.filter(({ client }) => client.accounts.quotaLow)
  return [...upstreams.filter((upstream) => !low.includes(upstream)), ...low]
}

/** Who was asked and has never answered in time comes after all others, until it has. */
function outrunLast(upstreams: readonly Upstream[]): Upstream[] {
  const outrun = upstreams.filter(({ client }) => client.traffic.onlyOutrun)
  return [...upstreams.filter((upstream) => !outrun.includes(upstream)), ...outrun]
}

function isOrigin({ client }: Upstream): boolean {
  return client.options.role === 'origin'
}
