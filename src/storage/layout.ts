import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.js'

/**
 * Every key there is. Under `storage.path`:
 *
 *     layout.json                                   version of this layout
 *     lock.db                                       held by the one process that may write here
 *     index.db                                      SQLite; may be deleted
 *     index.db.clean                                empty: index.db was closed in order (metadata/clean-mark.ts)
 *     token-key.pem                                 signs the tokens of users (mode 0600); may be deleted
 *     blobs/<algorithm>/<2 hex>/<hex>               complete and verified: layers, configs, manifests; fetched and pushed
 *     fills/<algorithm>-<hex>.part                  what has been fetched of a blob so far
 *     fills/<algorithm>-<hex>.part.ranges           which spans of it, where it has gaps (cache/range-journal.ts)
 *     uploads/<session>.part, <session>.json        a push in progress
 *     tmp/                                          small files on their way; emptied at start
 *     repositories/<name>/_manifests/<algorithm>/<hex>           ManifestLink (links.ts): this manifest belongs here
 *     repositories/<name>/_blobs/<algorithm>/<hex>               empty: this blob was pushed or mounted here
 *     repositories/<name>/_tags/<tag>                            TagLink (links.ts); for what is read through a TagRecord (cache)
 *     repositories/<name>/_referrers/<algorithm>/<hex>/<digest with - for :>   descriptor of a manifest that has this subject
 *
 * `<name>` is `local/app` for what was pushed, `docker.io/library/nginx` for what was read through, and
 * `_attached/docker.io/library/nginx` for the signatures and other referrers that were pushed to that one here. No
 * component of a repository's name begins with `_`, so neither that folder nor the four collide with one.
 */
export const LAYOUT_VERSION = 1

export const layoutKey = 'layout.json'
export const lockFile = 'lock.db'
export const indexFile = 'index.db'
export const tokenKeyFile = 'token-key.pem'
export const fillsDir = 'fills'
export const uploadsDir = 'uploads'
export const stagingDir = 'tmp'
export const blobsPrefix = 'blobs'
export const repositoriesPrefix = 'repositories'
export const attachedRoot = '_attached'

export const partFile = (digest: Digest) => `${algorithmOf(digest)}-${hexOf(digest)}.part`
/** Beside the part file at `path`. */
export const rangesFile = (path: string) => `${path}.ranges`
export const digestOfPartFile = (name: string): Digest | undefined =>
  digestFromParts(...(name.replace(/\.part$/, '').split('-', 2) as [string, string]))

export const blobKey = (digest: Digest) =>
  `${blobsPrefix}/${algorithmOf(digest)}/${hexOf(digest).slice(0, 2)}/${hexOf(digest)}`

export const repositoryPrefix = (name: string) => `${repositoriesPrefix}/${name}`
export const manifestLinksPrefix = (name: string) => `${repositoryPrefix(name)}/_manifests`
export const manifestLinkKey = (name: string, digest: Digest) => `${manifestLinksPrefix(name)}/${pathOf(digest)}`
export const blobLinksPrefix = (name: string) => `${repositoryPrefix(name)}/_blobs`
export const blobLinkKey = (name: string, digest: Digest) => `${blobLinksPrefix(name)}/${pathOf(digest)}`
export const tagLinksPrefix = (name: string) => `${repositoryPrefix(name)}/_tags`
export const tagLinkKey = (name: string, tag: string) => `${tagLinksPrefix(name)}/${tag}`
export const referrersRoot = (name: string) => `${repositoryPrefix(name)}/_referrers`
export const referrersPrefix = (name: string, subject: Digest) => `${referrersRoot(name)}/${pathOf(subject)}`
export const referrerKey = (name: string, subject: Digest, manifest: Digest) =>
  `${referrersPrefix(name, subject)}/${algorithmOf(manifest)}-${hexOf(manifest)}`

/** Whether a repository is one that is read through: its name begins with a registry's host, as no local namespace may. */
export const isMirrored = (repository: string) => /[.:]|^localhost$/.test(repository.split('/', 1)[0] ?? '')

/** The name on disk of the repository that keeps what is pushed to `repository`. */
export const pushedName = (repository: string) =>
  isMirrored(repository) ? `${attachedRoot}/${repository}` : repository

/** The repository whose name on disk is `name`: the inverse of `pushedName`. */
export const repositoryOf = (name: string) =>
  name.startsWith(`${attachedRoot}/`) ? name.slice(attachedRoot.length + 1) : name

/** Whether what a repository links was pushed. @param name as on disk @param namespaces first components of local names */
export const isPushedTo = (name: string, namespaces: readonly string[]) =>
  [attachedRoot, ...namespaces].includes(name.split('/', 1)[0] ?? '')

/** The digest that `<algorithm>` and `<hex>`, as found on disk, stand for; `undefined` for a stranger's file. */
export function digestFromParts(algorithm: string | undefined, hex: string | undefined): Digest | undefined {
  const text = `${algorithm}:${hex}`
  return isDigest(text) ? text : undefined
}

function pathOf(digest: Digest): string {
  return `${algorithmOf(digest)}/${hexOf(digest)}`
}
