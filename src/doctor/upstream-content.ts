import { randomBytes } from 'node:crypto'
import { type Digest, digestOf } from '../oci/digest.js'
import { type Descriptor, parseManifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'

export interface StoredManifest {
  digest: Digest
  mediaType: string
  bytes: Buffer
}

export interface AddedImage {
  manifest: Digest
  /** of the manifest, bytes */
  size: number
  config: Digest
  layers: Digest[]
}

export interface ImageOptions {
  /** Random bytes of so many, or the bytes themselves. */
  layers: readonly (number | Buffer)[]
  /** Docker's media types instead of OCI's. */
  docker?: boolean
  /** Named in the config, so that images of equal layers differ. */
  architecture?: string
}

export interface ManifestOptions {
  mediaType?: string
  tags?: readonly string[]
}

interface StoredRepository {
  manifests: Map<string, StoredManifest>
  tags: Map<string, Digest>
}

/** What a built-in upstream holds: blobs by digest for all repositories, manifests and tags by repository. */
export class UpstreamContent {
  readonly #blobs = new Map<string, Buffer>()
  readonly #repositories = new Map<string, StoredRepository>()

  /** @param content random bytes of so many, or the bytes */
  addBlob(content: number | Buffer): Digest {
    const bytes = typeof content === 'number' ? randomBytes(content) : content
    const digest = digestOf(bytes)
    this.#blobs.set(digest, bytes)
    return digest
  }

  /** @param body bytes kept as they are, or an object written as JSON; its `mediaType` is the default type */
  addManifest(
    repository: string,
    body: Buffer | string | object,
    { mediaType, tags = [] }: ManifestOptions = {},
  ): Digest {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
    const digest = digestOf(bytes)
    const type = mediaType ?? parseManifest(bytes, '').mediaType
    this.#ensure(repository).manifests.set(digest, { digest, mediaType: type, bytes })
    for (const tag of tags) this.setTag(repository, tag, digest)
    return digest
  }

  addImage(
    repository: string,
    tag: string | undefined,
    { layers, docker = false, architecture = 'amd64' }: ImageOptions,
  ): AddedImage {
    const types = docker ? DOCKER_TYPES : OCI_TYPES
    const layerDigests = layers.map((layer) => this.addBlob(layer))
    const config = this.addBlob(
      Buffer.from(JSON.stringify({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: layerDigests } })),
    )
    const manifest = this.addManifest(
      repository,
      {
        schemaVersion: 2,
        mediaType: types.manifest,
        config: this.#descriptor(types.config, config),
        layers: layerDigests.map((digest) => this.#descriptor(types.layer, digest)),
      },
      { tags: tag === undefined ? [] : [tag] },
    )
    return { manifest, size: this.manifest(repository, manifest)?.bytes.length ?? 0, config, layers: layerDigests }
  }

  /** An index (or Docker list) over images that were added, one for each architecture. */
  addIndex(repository: string, tag: string | undefined, images: Record<string, AddedImage>, docker = false): Digest {
    const manifests = Object.entries(images).map(([architecture, { manifest, size }]) => ({
      mediaType: this.manifest(repository, manifest)?.mediaType ?? '',
      digest: manifest,
      size,
      platform: { architecture, os: 'linux' },
    }))
    const mediaType = docker ? MEDIA_TYPES.dockerList : MEDIA_TYPES.ociIndex
    return this.addManifest(
      repository,
      { schemaVersion: 2, mediaType, manifests },
      { tags: tag === undefined ? [] : [tag] },
    )
  }

  setTag(repository: string, tag: string, digest: Digest): void {
    this.#ensure(repository).tags.set(tag, digest)
  }

  removeTag(repository: string, tag: string): void {
    this.#ensure(repository).tags.delete(tag)
  }

  blob(digest: string): Buffer | undefined {
    return this.#blobs.get(digest)
  }

  /** Whether a manifest of the repository names the blob. */
  names(repository: string, digest: string): boolean {
    const manifests = this.#repositories.get(repository)?.manifests.values() ?? []
    return [...manifests].some(({ bytes, mediaType }) =>
      parseManifest(bytes, mediaType).blobs.some((blob) => blob.digest === digest),
    )
  }

  /** By digest or tag. */
  manifest(repository: string, reference: string): StoredManifest | undefined {
    const stored = this.#repositories.get(repository)
    return stored?.manifests.get(stored.tags.get(reference) ?? reference)
  }

  /** In lexical order; undefined for a repository that is not there. */
  tags(repository: string): string[] | undefined {
    const stored = this.#repositories.get(repository)
    return stored && [...stored.tags.keys()].sort()
  }

  referrers(repository: string, subject: string): Descriptor[] {
    const manifests = this.#repositories.get(repository)?.manifests.values() ?? []
    return [...manifests].flatMap(({ bytes, mediaType, digest }) => {
      const parsed = parseManifest(bytes, mediaType)
      if (parsed.subject?.digest !== subject) return []
      const { artifactType, annotations } = parsed
      return [
        {
          mediaType,
          digest,
          size: bytes.length,
          ...(artifactType && { artifactType }),
          ...(annotations && { annotations }),
        },
      ]
    })
  }

  #descriptor(mediaType: string, digest: Digest): Descriptor {
    return { mediaType, digest, size: this.#blobs.get(digest)?.length ?? 0 }
  }

  #ensure(repository: string): StoredRepository {
    const stored = this.#repositories.get(repository) ?? { manifests: new Map(), tags: new Map() }
    this.#repositories.set(repository, stored)
    return stored
  }
}

const OCI_TYPES = {
  manifest: MEDIA_TYPES.ociManifest,
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
}

const DOCKER_TYPES = {
  manifest: MEDIA_TYPES.dockerManifest,
  config: 'application/vnd.docker.container.image.v1+json',
  layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
}
