import type { EventBus } from '../events.js'
import type { Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { childrenOf, readManifest } from '../oci/manifest.js'
import type { Repository } from '../oci/reference.js'
import type { LocalContent } from './local-content.js'
import type { Manifests } from './manifests.js'
import type { RepositoryLinks } from './repository-links.js'
import { digestsByTag } from './tags.js'

export interface BlobDeletionDeps {
  content: LocalContent
  manifests: Pick<Manifests, 'alone'>
  links: (repository: Repository) => RepositoryLinks
  events: EventBus
}

/**
 * Deleting blobs by request: the repository's link goes, the bytes are left to the garbage collection, since another
 * repository may need them. What a manifest of this repository names stays, as it does in zot: a manifest that was
 * acknowledged never dangles.
 */
export class BlobDeletion {
  readonly #deps: BlobDeletionDeps

  constructor(deps: BlobDeletionDeps) {
    this.#deps = deps
  }

  /**
   * end-10. It reads every manifest of the repository: the link files are the truth, not the index. One whose own link cannot
   * be read counts, and so does what a tag names: both are still pulled.
   *
   * @throws {OciError} BLOB_UNKNOWN; DENIED (405) while a manifest names it
   */
  delete(repository: Repository, digest: Digest): Promise<void> {
    const { manifests, links, events } = this.#deps
    const own = links(repository)
    return manifests.alone(repository, async () => {
      if ((await own.blobSize(digest)) === undefined) {
        throw new OciError('BLOB_UNKNOWN', `no such blob in ${repository}`, { detail: { digest } })
      }
      const by = await this.#namedBy(digest, own)
      if (by) throw inUse(digest, by)
      await own.removeBlob(digest)
      events.emit('blob.deleted', { repository, digest })
    })
  }

  async #namedBy(digest: Digest, links: RepositoryLinks): Promise<Digest | undefined> {
    const looked = new Set<Digest>()
    for await (const [manifest, link] of links.manifests()) {
      if (await this.#names(manifest, link?.mediaType ?? '', digest)) return manifest
      looked.add(manifest)
    }
    for (const manifest of (await digestsByTag(links)).values()) {
      if (!looked.has(manifest) && (await this.#names(manifest, '', digest))) return manifest
      looked.add(manifest)
    }
    return undefined
  }

  async #names(manifest: Digest, mediaType: string, digest: Digest): Promise<boolean> {
    const bytes = await this.#bytesOf(manifest)
    const parsed = bytes && readManifest(bytes, mediaType)
    return parsed !== undefined && childrenOf(parsed).includes(digest)
  }

  /** A damaged manifest is served to nobody, and must not keep what it may have named for ever. */
  async #bytesOf(manifest: Digest): Promise<Uint8Array | undefined> {
    try {
      return await this.#deps.content.manifestBytes(manifest)
    } catch (error) {
      if (error instanceof OciError) return undefined
      throw error
    }
  }
}

function inUse(digest: Digest, manifest: Digest): OciError {
  return new OciError('DENIED', 'a manifest of this repository names the blob: delete the manifest first', {
    status: 405,
    detail: { digest, manifest },
    headers: { allow: 'GET, HEAD' },
  })
}
