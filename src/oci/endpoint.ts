import { type Digest, parseDigest } from './digest.js'
import { OciError } from './errors.js'
import { parseReference, parseRepository, type Reference, type Repository } from './reference.js'

/** What a path under `/v2/` asks for; the specification's endpoints end-1 to end-14 and the Docker catalog. */
export type Endpoint =
  | { kind: 'base' }
  | { kind: 'catalog' }
  | { kind: 'manifest'; repository: Repository; reference: Reference }
  | { kind: 'blob'; repository: Repository; digest: Digest }
  | { kind: 'uploads'; repository: Repository }
  | { kind: 'upload'; repository: Repository; session: string }
  | { kind: 'tags'; repository: Repository }
  | { kind: 'referrers'; repository: Repository; digest: Digest }

const SESSION = /^[A-Za-z0-9_-]{1,128}$/

/**
 * @param path what follows `/v2/` in the raw request target, without the query
 * @throws {OciError} NAME_INVALID, DIGEST_INVALID, MANIFEST_INVALID, BLOB_UPLOAD_UNKNOWN, or NAME_UNKNOWN for no endpoint
 */
export function parseEndpoint(path: string): Endpoint {
  if (path === '') return { kind: 'base' }
  if (path === '_catalog') return { kind: 'catalog' }
  const plain = unescapeColons(path)
  const segments = plain.split('/')
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    throw new OciError('NAME_INVALID', 'a path is not resolved here: . and .. name nothing')
  }
  const last = segments.at(-1) ?? ''
  const before = segments.at(-2)
  const name = (tail: number) => parseRepository(segments.slice(0, -tail).join('/'))

  if (before === 'uploads' && segments.at(-3) === 'blobs') {
    if (last === '') return { kind: 'uploads', repository: name(3) }
    if (!SESSION.test(last)) throw new OciError('BLOB_UPLOAD_UNKNOWN', 'no such upload session')
    return { kind: 'upload', repository: name(3), session: last }
  }
  if (last === 'uploads' && before === 'blobs') return { kind: 'uploads', repository: name(2) }
  if (before === 'manifests') return { kind: 'manifest', repository: name(2), reference: parseReference(last) }
  if (before === 'blobs') return { kind: 'blob', repository: name(2), digest: parseDigest(last) }
  if (before === 'referrers') return { kind: 'referrers', repository: name(2), digest: parseDigest(last) }
  if (before === 'tags' && last === 'list') return { kind: 'tags', repository: name(2) }
  throw new OciError('NAME_UNKNOWN', 'no such endpoint', { status: 404 })
}

/** Some clients escape the colon of a digest; nothing else in a valid path ever needs an escape. */
function unescapeColons(path: string): string {
  const plain = path.replaceAll(/%3a/gi, ':')
  if (plain.includes('%')) throw new OciError('NAME_INVALID', 'escapes are not allowed in a repository path')
  return plain
}
