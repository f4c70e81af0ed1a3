import { Readable } from 'node:stream'
import type { OpenBlob } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { isAbsence, OciError } from '../oci/errors.js'
import { hasBytesHere, type Manifest, readManifest } from '../oci/manifest.js'
import { bareType } from '../oci/media-types.js'
import type { Reference, Repository } from '../oci/reference.js'
import { isAttachedTag } from '../oci/referrers.js'
import type { ContentSource } from '../routing/content-source.js'
import type { LocalContent } from './local-content.js'
import type { RepositoryLinks } from './repository-links.js'
import { OURSELVES, type Uploads } from './uploads.js'

const READ_BYTES = 256 * 1024

export interface AttachmentsDeps {
  uploads: Uploads
  content: LocalContent
  links: (repository: Repository) => RepositoryLinks
}

/** A manifest that is pushed to a repository that is read through. */
export interface Attachment {
  /** `docker.io/library/nginx` */
  repository: Repository
  /** All that it is to be known by. */
  references: readonly Reference[]
  bytes: Uint8Array
  contentType: string | undefined
  /** The repository as clients read it. */
  source: ContentSource
}

/** What may be pushed to a repository that is read through: what refers to its images, never an image. */
export class Attachments {
  readonly #deps: AttachmentsDeps

  constructor(deps: AttachmentsDeps) {
    this.#deps = deps
  }

  /**
   * Before `Manifests.put`: lets pass what refers to another manifest, and keeps here what it needs and only the
   * upstream has: a client does not push a blob that it was told is there.
   *
   * @throws {OciError} DENIED for anything else
   */
  async admit({ repository, references, bytes, contentType, source }: Attachment): Promise<void> {
    const manifest = readManifest(bytes, bareType(contentType))
    // What is wrong with it is said when it is put.
    if (!manifest) return
    checkRefers(repository, references, manifest)
    const links = this.#deps.links(repository)
    for (const { digest } of manifest.blobs.filter(hasBytesHere)) {
      const size = await this.#deps.content.sizeOf(digest, () => links.blobSize(digest))
      if (size === undefined) await this.#bring(repository, digest, source)
    }
  }

  async #bring(repository: Repository, digest: Digest, source: ContentSource): Promise<void> {
    const blob = await found(source.openBlob(digest))
    if (!blob) return
    try {
      const chunk = { body: Readable.from(chunksOf(blob)), range: undefined, length: blob.size }
      await this.#deps.uploads.pushWhole(repository, digest, chunk, OURSELVES)
    } catch (cause) {
      if (!(cause instanceof OciError) || cause.code !== 'BLOB_UPLOAD_INVALID') throw cause
      throw new OciError(
        'UNAVAILABLE',
        'what the manifest needs could not be had from the upstream: push the blob first',
        {
          detail: { digest },
          cause,
        },
      )
    } finally {
      await blob.reader.close()
    }
  }
}

function checkRefers(repository: Repository, references: readonly Reference[], { subject }: Manifest): void {
  const tags = references.flatMap((reference) => (reference.kind === 'tag' ? [reference.tag] : []))
  const stranger = tags.find((tag) => !isAttachedTag(tag))
  if (stranger === undefined && (subject || tags.length > 0)) return
  const what = stranger === undefined ? 'this one has no subject' : `the tag ${stranger} is the upstream's`
  const name = repository.slice(repository.indexOf('/') + 1)
  throw new OciError(
    'DENIED',
    `${repository} is mirrored and takes only manifests with a subject, and tags like sha256-<hex>; ${what}: push images to a local namespace, e.g. local/${name}`,
  )
}

async function* chunksOf({ reader }: OpenBlob): AsyncGenerator<Buffer> {
  for (let position = 0; ; ) {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    const count = await reader.read(buffer, position)
    if (count === 0) return
    position += count
    yield buffer.subarray(0, count)
  }
}

async function found(opening: Promise<OpenBlob>): Promise<OpenBlob | undefined> {
  try {
    return await opening
  } catch (error) {
    if (isAbsence(error)) return undefined
    throw error
  }
}
