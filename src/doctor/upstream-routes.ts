import { parseRange } from '../oci/range.js'
import type { UpstreamContent } from './upstream-content.js'
import type { Fault, Reply } from './upstream-faults.js'

/** A request to the registry, its path taken apart. */
export interface Asked {
  content: UpstreamContent
  /** Below `/v2/`. */
  path: string
  query: URLSearchParams
  range: string | undefined
  ifNoneMatch: string | undefined
  fault: Fault | undefined
  /** Tags on a page at most. */
  pageSize: number
  referrers: boolean
  ownBlobs: boolean
}

/** The repository that a path below `/v2/` is about, empty for none. */
export function repositoryOf(path: string): string {
  return /^(.+)\/(?:manifests|blobs|tags|referrers)\/[^/]+$/.exec(path)?.[1] ?? ''
}

/** What an honest registry answers. */
export function answer(asked: Asked): Reply {
  if (asked.path === '') return json({})
  const [, repository = '', endpoint, last = ''] =
    /^(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(asked.path) ?? []
  switch (endpoint) {
    case 'manifests':
      return manifest(asked, repository, last)
    case 'blobs':
      return blob(asked, repository, last)
    case 'tags':
      return tagList(asked, repository)
    case 'referrers':
      return referrerList(asked, repository, last)
    default:
      return unknown('NAME_UNKNOWN')
  }
}

function manifest({ content, ifNoneMatch }: Asked, repository: string, reference: string): Reply {
  const stored = content.manifest(repository, reference)
  if (!stored) return unknown('MANIFEST_UNKNOWN')
  const { digest, mediaType, bytes } = stored
  const headers = { 'content-type': mediaType, 'docker-content-digest': digest, etag: `"${digest}"` }
  if (ifNoneMatch?.includes(digest)) return { status: 304, headers, body: Buffer.alloc(0), start: 0 }
  return { status: 200, headers, body: bytes, start: 0 }
}

function blob({ content, range, fault, ownBlobs }: Asked, repository: string, digest: string): Reply {
  const bytes = ownBlobs && !content.names(repository, digest) ? undefined : content.blob(digest)
  if (!bytes) return unknown('BLOB_UNKNOWN')
  const headers = {
    'content-type': 'application/octet-stream',
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
  }
  const ranges = fault?.kind === 'ignore-range' ? undefined : parseRange(range, bytes.length)
  if (ranges === 'unsatisfiable') {
    return { status: 416, headers: { 'content-range': `bytes */${bytes.length}` }, body: Buffer.alloc(0), start: 0 }
  }
  const [first] = ranges ?? []
  if (!first) return { status: 200, headers, body: bytes, start: 0 }
  const { start, end } = first
  const part = { ...headers, 'content-range': `bytes ${start}-${end}/${bytes.length}` }
  return { status: 206, headers: part, body: bytes.subarray(start, end + 1), start }
}

function tagList({ content, query, pageSize }: Asked, repository: string): Reply {
  const all = content.tags(repository)
  if (!all) return unknown('NAME_UNKNOWN')
  const last = query.get('last') ?? ''
  const n = Math.min(Number(query.get('n') ?? pageSize) || pageSize, pageSize)
  const rest = all.filter((tag) => tag > last)
  const tags = rest.slice(0, n)
  const reply = json({ name: repository, tags })
  if (rest.length > n) reply.headers.link = `</v2/${repository}/tags/list?n=${n}&last=${tags.at(-1)}>; rel="next"`
  return reply
}

function referrerList({ content, query, referrers }: Asked, repository: string, subject: string): Reply {
  if (!referrers) return unknown('NAME_UNKNOWN')
  const wanted = query.get('artifactType')
  const all = content.referrers(repository, subject)
  const manifests = wanted === null ? all : all.filter(({ artifactType }) => artifactType === wanted)
  const reply = json({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests })
  reply.headers['content-type'] = 'application/vnd.oci.image.index.v1+json'
  if (wanted !== null) reply.headers['oci-filters-applied'] = 'artifactType'
  return reply
}

export function json(value: unknown, status = 200): Reply {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)), start: 0 }
}

function unknown(code: string): Reply {
  return json({ errors: [{ code, message: 'not here' }] }, 404)
}
