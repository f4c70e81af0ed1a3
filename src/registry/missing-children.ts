import pLimit from 'p-limit'
import type { Digest } from '../oci/digest.js'
import { OciError } from '../oci/errors.js'
import { hasBytesHere, type Manifest } from '../oci/manifest.js'
import type { LocalContent } from './local-content.js'
import type { RepositoryLinks } from './repository-links.js'

/** Of what a manifest names, what may be absent: nothing, what an index lists, or anything. */
export type Sparse = 'none' | 'indexes' | 'all'

/** Files looked for at a time, so that one large index leaves room for everybody else. */
const LOOKUPS_AT_ONCE = 8
/** A client that has pushed nothing yet needs no longer list to see that. */
const LISTED_LIMIT = 100

/** A manifest names content that its repository does not hold: one entry of `errors` for each digest. */
class MissingChildrenError extends OciError {
  readonly #missing: Digest[]

  constructor(missing: Digest[]) {
    super('MANIFEST_BLOB_UNKNOWN', 'the manifest names content that is not in this repository', {
      detail: { digests: missing.slice(0, LISTED_LIMIT) },
    })
    this.#missing = missing
  }

  override toJSON() {
    const { code, message } = this
    return { errors: this.#missing.slice(0, LISTED_LIMIT).map((digest) => ({ code, message, detail: { digest } })) }
  }
}

/**
 * Checks that a repository holds all that a manifest needs. Foreign layers, whose bytes are elsewhere (`urls`), may be
 * absent, and so may the subject (distribution specification, Pushing Manifests with Subject). What is found is in use from
 * then on, so that no garbage collection takes it before the manifest is written.
 *
 * @returns what is absent and may be, as `sparse` has it
 * @throws {OciError} MANIFEST_BLOB_UNKNOWN with each digest
 */
export async function checkChildren(
  manifest: Manifest,
  { links, content, sparse }: { links: RepositoryLinks; content: LocalContent; sparse: Sparse },
): Promise<Digest[]> {
  const limit = pLimit(LOOKUPS_AT_ONCE)
  const needed = new Map<Digest, () => Promise<number | undefined>>()
  for (const { digest } of manifest.blobs.filter(hasBytesHere)) needed.set(digest, () => links.blobSize(digest))
  // Build caches are indexes that list layers: what an index names is a manifest or a blob.
  for (const { digest } of manifest.manifests.filter(hasBytesHere)) {
    needed.set(digest, async () => (await links.manifestSize(digest)) ?? links.blobSize(digest))
  }
  const digests = [...needed.keys()]
  const found = await limit.map(digests, (digest) => content.sizeOf(digest, needed.get(digest)!))
  const missing = digests.filter((_digest, at) => found[at] === undefined)
  const listed = new Set(manifest.manifests.map(({ digest }) => digest))
  const refused = missing.filter((digest) => sparse === 'none' || (sparse === 'indexes' && !listed.has(digest)))
  if (refused.length > 0) throw new MissingChildrenError(refused)
  return missing
}
