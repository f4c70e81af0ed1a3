import type { Logger } from 'pino'
import type { EventBus } from '../events.js'
import { KeyedLock } from '../lib/keyed-lock.js'
import type { BlobStore } from '../metadata/blob-store.js'
import type { MetadataIndex } from '../metadata/metadata-index.js'
import { type Digest, digestOf, matches } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { childrenOf, type Manifest, parseManifest } from '../oci/manifest.js'
import { bareType, isKnownManifestType, MEDIA_TYPES } from '../oci/media-types.js'
import type { Reference, Repository, Tag } from '../oci/reference.js'
import { fallbackTag, isFallbackTag } from '../oci/referrers.js'
import { isMirrored } from '../storage/layout.js'
import type { Directory } from './directory.js'
import type { DiskGuard } from './disk-guard.js'
import { withoutReferrer } from './fallback-index.js'
import { writing } from './full-disk.js'
import type { LocalContent } from './local-content.js'
import { type LinkedManifest, linkManifest } from './manifest-links.js'
import { checkChildren, type Sparse } from './missing-children.js'
import { orphan } from './orphans.js'
import { warningsFor } from './push-warnings.js'
import type { RepositoryLinks } from './repository-links.js'
import { digestsByTag } from './tags.js'

const UNMARKED =
  'a manifest was deleted while the disk is full: what hung on it is not marked as garbage, or an index still lists it; make room, and delete that too'

export interface ManifestsDeps {
  store: BlobStore
  index: MetadataIndex
  content: LocalContent
  directory: Directory
  events: EventBus
  links: (repository: Repository) => RepositoryLinks
  guard: DiskGuard
  log: Logger
  sparse: Sparse
  /** Whether a tag, once it is there, may be neither moved nor deleted. */
  isImmutable: (repository: Repository, tag: Tag) => boolean
  now: () => number
}

/** What a client puts. */
export interface ManifestPush {
  reference: Reference
  /** To be set as well, where `reference` is a digest. */
  tags?: readonly Tag[]
  bytes: Uint8Array
  contentType: string | undefined
}

export interface PushedManifest {
  digest: Digest
  /** What it refers to, to be told as `OCI-Subject`. */
  subject: Digest | undefined
  /** What the client should be told though it was taken, each a sentence. */
  warnings: string[]
}

/**
 * Taking and deleting manifests, one change of a repository at a time. What is acknowledged is on stable storage, and
 * is written in an order in which a crash leaves garbage at worst: bytes, links, tag.
 */
export class Manifests {
  readonly #deps: ManifestsDeps
  readonly #changing = new KeyedLock<Repository>()

  constructor(deps: ManifestsDeps) {
    this.#deps = deps
  }

  /**
   * end-7. Everything is checked before anything is written.
   *
   * @throws {OciError} MANIFEST_INVALID, DIGEST_INVALID, MANIFEST_BLOB_UNKNOWN, UNAVAILABLE (507) when the disk is full,
   *   DENIED (409) when the tag is immutable and names another manifest
   */
  put(repository: Repository, { reference, tags = [], bytes, contentType }: ManifestPush): Promise<PushedManifest> {
    const manifest = parsePushed(bytes, contentType)
    const digest = digestFor(reference, bytes)
    const named = reference.kind === 'tag' ? [reference.tag] : [...new Set(tags)]
    return this.#changing.run(repository, () =>
      this.#deps.guard.writing(async () => {
        const links = this.#deps.links(repository)
        for (const tag of named) await this.#checkMove(links, tag, digest)
        const here = isMirrored(repository) ? withoutManifests(manifest) : manifest
        const missing = await checkChildren(here, { links, content: this.#deps.content, sparse: this.#deps.sparse })
        await this.#keep(digest, bytes, manifest)
        const fallback = reference.kind === 'tag' && isFallbackTag(reference.tag)
        await this.#publish(links, { digest, size: bytes.length, manifest, tags: named, fallback })
        const pushed = { repository, reference, digest, bytes: bytes.length, tags: named }
        this.#deps.events.emit('manifest.pushed', pushed)
        return { digest, subject: manifest.subject?.digest, warnings: warningsFor(manifest, missing) }
      }),
    )
  }

  /**
   * end-9: a tag alone, or a manifest with every tag that names it and its entry among its subject's referrers. What an
   * index alone named, and what refers to the manifest, is left to the garbage collection. A full disk does not stand in
   * its way.
   *
   * @throws {OciError} MANIFEST_UNKNOWN, DENIED (409) when a tag that would go is immutable
   */
  delete(repository: Repository, reference: Reference): Promise<void> {
    return this.alone(repository, (untagged) =>
      writing(async () => {
        const links = this.#deps.links(repository)
        if (reference.kind === 'tag') await this.#deleteTag(links, reference.tag, untagged)
        else await this.#deleteManifest(links, reference.digest, untagged)
      }),
    )
  }

  /**
   * Runs `work`, which takes links away and tells each tag that has gone, while nothing else changes the repository; the
   * directory knows it when this resolves.
   */
  alone<Result>(repository: Repository, work: (untagged: Untagged) => Promise<Result>): Promise<Result> {
    const { directory } = this.#deps
    const gone: Tag[] = []
    return this.#changing.run(repository, async () => {
      try {
        const result = await work((tag) => gone.push(tag))
        await directory.removed(repository, gone)
        return result
      } catch (error) {
        // What failed midway has changed something too.
        await directory.recount(repository)
        throw error
      }
    })
  }

  /** Runs `work`, which changes nothing and has to be short, while nothing else changes the repository's manifests and tags. */
  still<Result>(repository: Repository, work: () => Promise<Result>): Promise<Result> {
    return this.#changing.run(repository, work)
  }

  async #publish(
    links: RepositoryLinks,
    { tags, ...pushed }: LinkedManifest & { tags: readonly Tag[] },
  ): Promise<void> {
    const { directory } = this.#deps
    const { digest, manifest } = pushed
    try {
      await linkManifest(links, pushed)
      await directory.added(links.repository, undefined)
      for (const tag of tags) {
        await this.#setTag(links, tag, digest, manifest.mediaType)
        await directory.added(links.repository, tag)
      }
    } catch (error) {
      // Some of it may be there.
      await directory.recount(links.repository)
      throw error
    }
  }

  async #keep(digest: Digest, bytes: Uint8Array, manifest: Manifest): Promise<void> {
    const { store, index, content } = this.#deps
    await store.put(bytes, { digest, manifest: true }, 'pushed')
    index.setChildren(digest, childrenOf(manifest))
    content.remember(digest, bytes)
  }

  /** @throws {OciError} DENIED */
  async #checkMove(links: RepositoryLinks, tag: Tag, digest: Digest): Promise<void> {
    if (!this.#deps.isImmutable(links.repository, tag)) return
    const named = (await links.tag(tag))?.digest
    if (named !== undefined && named !== digest) throw immutable(tag, `names ${named} and cannot be moved`)
  }

  async #setTag(links: RepositoryLinks, tag: Tag, digest: Digest, mediaType: string): Promise<void> {
    const { index, now } = this.#deps
    const before = await links.tag(tag)
    await links.setTag(tag, { digest, mediaType, taggedAt: now() })
    // Rules on what has no tag count from when it lost it.
    if (before && before.digest !== digest) index.touch(before.digest)
  }

  async #deleteTag(links: RepositoryLinks, tag: Tag, untagged: Untagged): Promise<void> {
    if (!(await links.hasTag(tag))) throw unknown(links.repository, { tag })
    if (this.#deps.isImmutable(links.repository, tag)) throw immutable(tag, 'cannot be deleted')
    // One that is damaged names nothing, and goes all the same.
    const known = await links.tag(tag)
    await this.#removeTag(links, tag, known?.digest, untagged)
  }

  async #removeTag(links: RepositoryLinks, tag: Tag, digest: Digest | undefined, untagged: Untagged): Promise<void> {
    await links.removeTag(tag)
    untagged(tag)
    if (digest) this.#deps.index.touch(digest)
    this.#deps.events.emit('tag.deleted', { repository: links.repository, tag })
  }

  async #deleteManifest(links: RepositoryLinks, digest: Digest, untagged: Untagged): Promise<void> {
    const { content, isImmutable, guard, events, log, now } = this.#deps
    const known = await links.manifest(digest)
    if (!known) throw unknown(links.repository, { digest })
    const tags = await digestsByTag(links)
    const own = [...tags].filter(([, named]) => named === digest).map(([tag]) => tag)
    const held = own.find((tag) => isImmutable(links.repository, tag))
    if (held !== undefined) throw immutable(held, 'cannot be deleted, nor can what it names')
    for (const tag of own) await this.#removeTag(links, tag, digest, untagged)
    const { subject } = known
    if (subject) await links.removeReferrer(subject, digest)
    // Before the link goes: as long as it is there it holds them, whatever is written on them.
    const left = await guard.writeWhatFits([
      () => orphan(digest, { links, content, mediaType: known.mediaType, tags, at: now() }),
      async () => subject && this.#unlist(links, subject, digest, untagged),
    ])
    await links.removeManifest(digest)
    // Each replaces a file, for which there may be room now.
    const missed = await guard.writeWhatFits(left)
    if (missed.length > 0) log.warn({ repository: links.repository, digest }, UNMARKED)
    events.emit('manifest.deleted', { repository: links.repository, digest })
  }

  /**
   * Takes a referrer out of the index that a client may have pushed under the fallback tag: that one says what refers to a
   * manifest, so it changes with that, immutable or not.
   */
  async #unlist(links: RepositoryLinks, subject: Digest, referrer: Digest, untagged: Untagged): Promise<void> {
    const tag = fallbackTag(subject)
    const tagged = await links.tag(tag)
    const index = tagged && (await this.#deps.content.manifestBytes(tagged.digest))
    const rest = index && withoutReferrer(index, referrer)
    if (!tagged || !rest) return
    if (rest.left === 0) return this.#removeTag(links, tag, tagged.digest, untagged)
    const manifest = parseManifest(rest.bytes, tagged.mediaType)
    const digest = digestOf(rest.bytes)
    await this.#keep(digest, rest.bytes, manifest)
    await linkManifest(links, { digest, size: rest.bytes.length, manifest, fallback: true })
    await this.#setTag(links, tag, digest, manifest.mediaType)
  }
}

/** To be told each tag that has gone. */
type Untagged = (tag: Tag) => void

/** What an index of referrers lists may be the upstream's, and so need not be here. */
function withoutManifests(manifest: Manifest): Manifest {
  return { ...manifest, manifests: [] }
}

/** @throws {OciError} DIGEST_INVALID when it is put under a digest that is not its own */
function digestFor(reference: Reference, bytes: Uint8Array): Digest {
  if (reference.kind === 'tag') return digestOf(bytes)
  if (matches(reference.digest, bytes)) return reference.digest
  throw new OciError('DIGEST_INVALID', 'the manifest does not match the digest that it is pushed under', {
    detail: { digest: reference.digest },
  })
}

/** @throws {OciError} MANIFEST_INVALID when it is none, or is called something else than it calls itself */
function parsePushed(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const type = bareType(contentType)
  const specific = type === 'application/json' ? '' : type
  const manifest = parseManifest(bytes, specific)
  const { mediaType } = manifest
  if (specific !== '' && mediaType.toLowerCase() !== specific) {
    throw new OciError('MANIFEST_INVALID', `the Content-Type is ${type}, the manifest calls itself ${mediaType}`)
  }
  // What such a one needs could not be told from garbage.
  if (!isKnownManifestType(mediaType)) {
    throw new OciError(
      'MANIFEST_INVALID',
      `manifests of the type ${mediaType.slice(0, 160)} are not taken: push an OCI image manifest with an artifactType, or an index`,
    )
  }
  if (mediaType === MEDIA_TYPES.dockerSchema1 || mediaType === MEDIA_TYPES.dockerSchema1Signed) {
    throw new OciError('MANIFEST_INVALID', 'schema 1 manifests are not taken: push schema 2 or OCI')
  }
  return manifest
}

function unknown(repository: Repository, detail: Record<string, string>): OciError {
  return new OciError('MANIFEST_UNKNOWN', `no such manifest in ${repository}`, { detail })
}

function immutable(tag: Tag, what: string): OciError {
  return new OciError('DENIED', `${tag} is immutable here (local.immutableTags): it ${what}`, {
    status: 409,
    detail: { tag },
  })
}
