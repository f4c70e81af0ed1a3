import type { BlobFacts, OpenBlob, ServedManifest } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import type { Descriptor } from '../oci/manifest.js'
import type { Reference, Repository } from '../oci/reference.js'

/** A part of a repository's tags, in lexical order. */
export interface TagPage {
  tags: string[]
  /** Whether tags follow the last one. */
  more: boolean
}

export interface PageRequest {
  /** At most this many; undefined: as many as there are. */
  n?: number | undefined
  /** Only what follows this one, itself excluded. */
  last?: string | undefined
}

/** Referrers, in no order; a digest may be there twice. */
export interface ReferrersAnswer {
  descriptors: Descriptor[]
  /** A Warning header (RFC 7234, 5.5): why there may be more. */
  warning?: string | undefined
}

/**
 * One repository that can be read: pushed here, or read through to upstreams.
 * Every method throws `OciError`: BLOB_UNKNOWN, MANIFEST_UNKNOWN or NAME_UNKNOWN where nobody has it,
 * UNAVAILABLE or TOOMANYREQUESTS where it could not be found out.
 */
export interface ContentSource {
  /** The caller closes what it gets. @param from where it will read first, below 0 from the end: a hint */
  openBlob(digest: Digest, from?: number): Promise<OpenBlob>
  /** Never fetches the content. */
  statBlob(digest: Digest): Promise<BlobFacts>
  /** @param refresh of a tag that is read through: ask upstream now, however lately that was done */
  getManifest(reference: Reference, refresh?: boolean): Promise<ServedManifest>
  listTags(page: PageRequest): Promise<TagPage>
  /** @param artifactType only those of this type */
  listReferrers(subject: Digest, artifactType?: string): Promise<ReferrersAnswer>
}

/** Where a request's repository lives. */
export type Route =
  | { kind: 'local'; repository: Repository; source: ContentSource }
  | {
      kind: 'proxy'
      /** e.g. `docker.io` */
      registry: string
      /** As the upstream knows it, e.g. `library/nginx`. */
      repository: Repository
      source: ContentSource
      /** Whether the query's `ns` chose the registry, to be answered with `OCI-Namespace`. */
      namespaced: boolean
      /** The name under which it takes pushes of referrers, e.g. `docker.io/library/nginx`; undefined: it takes none. */
      attach?: Repository | undefined
    }

/** What access rules call a repository: `local/app`, `docker.io/library/nginx`. */
export function canonicalName(route: Route): string {
  return route.kind === 'local' ? route.repository : `${route.registry}/${route.repository}`
}

/** Repository name and `ns` parameter to the source that answers for it. */
export interface Resolver {
  /** @throws {OciError} NAME_UNKNOWN for a registry that is not configured; nothing is asked outside */
  resolve(repository: Repository, ns: string | undefined): Route
  /** What a client means by a name, `docker.io/library/nginx` by `nginx`; undefined where no such registry is known. */
  nameOf(repository: Repository): Repository | undefined
}

/**
 * The repository that takes what is pushed by this route.
 *
 * @throws {OciError} DENIED where none does
 */
export function pushTarget(route: Route): Repository {
  const target = route.kind === 'local' ? route.repository : route.attach
  if (target) return target
  const { repository } = route
  throw new OciError(
    'DENIED',
    `${repository} is mirrored from an upstream and takes no pushes: push to a local namespace, e.g. local/${repository}`,
  )
}
