import { type Digest, isDigest } from '../oci/digest.js'
import { type Descriptor, parseManifest } from '../oci/manifest.js'
import { MEDIA_TYPES } from '../oci/media-types.js'
import type { Repository } from '../oci/reference.js'
import { fallbackTag } from '../oci/referrers.js'
import type { FetchedReferrers } from './answers.js'
import type { Asker } from './asker.js'
import type { Answer } from './connections.js'
import { UpstreamError } from './errors.js'
import { header } from './headers.js'

/** What a listing of one repository needs: who asks, and who reads a bounded body. */
export interface Listing {
  asker: Asker
  read: (answer: Answer) => Promise<Buffer>
  repository: Repository
  upstream: string
  signal: AbortSignal | undefined
}

interface Page {
  json: Record<string, unknown>
  bytes: Buffer
  answer: Answer
}

const PAGES_LIMIT = 1000
const TAGS_A_PAGE = 1000

/** `tags: null`, as some registries write an empty list, is no tags. @throws {UpstreamError} */
export async function listTags(listing: Listing): Promise<string[]> {
  const tags = new Set<string>()
  for await (const { json } of pages(listing, `/v2/${listing.repository}/tags/list?n=${TAGS_A_PAGE}`)) {
    for (const tag of Array.isArray(json.tags) ? json.tags : []) {
      if (typeof tag === 'string') tags.add(tag)
    }
  }
  return [...tags]
}

/** @throws {UpstreamError}; an upstream that knows neither the API nor the fallback tag has no referrers */
export async function listReferrers(
  listing: Listing,
  digest: Digest,
  artifactType: string | undefined,
): Promise<FetchedReferrers> {
  const query = artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(artifactType)}`
  const descriptors: Descriptor[] = []
  let filtered = artifactType !== undefined
  for await (const page of pages(listing, `/v2/${listing.repository}/referrers/${digest}${query}`, [404])) {
    if (page.answer.status === 404) return { descriptors: await fromFallbackTag(listing, digest), filtered: false }
    descriptors.push(...manifestsOf(page, listing.upstream))
    filtered &&= (header(page.answer.headers, 'oci-filters-applied') ?? '').split(/,\s*/).includes('artifactType')
  }
  return { descriptors, filtered }
}

/** Distribution specification, Referrers Tag Schema: an index under the tag `sha256-<hex>`. */
async function fromFallbackTag(listing: Listing, digest: Digest): Promise<Descriptor[]> {
  const { repository, signal, asker, read, upstream } = listing
  const headers = { accept: MEDIA_TYPES.ociIndex }
  const answer = await asker.ask({
    path: `/v2/${repository}/manifests/${fallbackTag(digest)}`,
    repository,
    headers,
    signal,
    accept: [404],
  })
  const bytes = await read(answer)
  return answer.status === 404 ? [] : manifestsOf({ bytes, answer, json: parseObject(bytes, upstream) }, upstream)
}

function manifestsOf({ bytes }: Page, upstream: string): Descriptor[] {
  try {
    return parseManifest(bytes, MEDIA_TYPES.ociIndex).manifests.filter(({ digest }) => isDigest(digest))
  } catch (cause) {
    throw new UpstreamError('lying', 'the list of referrers is malformed', { upstream, cause })
  }
}

/** Follows `Link: <...>; rel="next"` (RFC 8288) on the upstream's own origin, in bounds. */
async function* pages(listing: Listing, first: string, accept: readonly number[] = []): AsyncGenerator<Page> {
  const { asker, read, repository, upstream, signal } = listing
  const seen = new Set<string>()
  let path: string | undefined = first
  while (path !== undefined) {
    if (seen.has(path)) throw new UpstreamError('lying', 'a list whose pages lead in a circle', { upstream })
    if (seen.size === PAGES_LIMIT)
      throw new UpstreamError('lying', `a list of more than ${PAGES_LIMIT} pages`, { upstream })
    seen.add(path)
    const answer: Answer = await asker.ask({
      path,
      repository,
      headers: { accept: 'application/json' },
      signal,
      accept,
    })
    const bytes = await read(answer)
    yield { json: answer.status === 200 ? parseObject(bytes, upstream) : {}, bytes, answer }
    path = asker.nextPage(path, header(answer.headers, 'link'))
  }
}

function parseObject(bytes: Buffer, upstream: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(bytes.toString())
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>
  } catch (cause) {
    throw new UpstreamError('lying', 'the list is not JSON', { upstream, cause })
  }
  throw new UpstreamError('lying', 'the list is not a JSON object', { upstream })
}
