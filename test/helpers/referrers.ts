import type { Descriptor } from '../../src/oci/manifest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { Pusher } from './push.js'

export const SIGNATURE = 'application/vnd.test.signature'
export const SBOM = 'application/vnd.test.sbom'

/** One answer of the referrers API. */
export async function referrersPage(push: Pusher, path: string) {
  const response = await push.send('GET', path)
  const { manifests = [] } = (await response.json()) as { manifests?: Descriptor[] }
  const [, next] = /^<([^>]+)>; rel="next"$/.exec(response.headers.get('link') ?? '') ?? []
  return { status: response.status, headers: response.headers, manifests, next }
}

/** Every page, as a client reads them. */
export async function allReferrers(push: Pusher, path: string) {
  const pages = []
  for (let next: string | undefined = path; next !== undefined; ) {
    const page: Awaited<ReturnType<typeof referrersPage>> = await referrersPage(push, next)
    pages.push(page)
    next = page.next
  }
  return { pages, digests: pages.flatMap(({ manifests }) => manifests.map(({ digest }) => digest)) }
}

/** A manifest without contents of its own that refers to `subject`; `annotations` make it another one. */
export function referrerTo(subject: object, artifactType: string, annotations: Record<string, string> = {}) {
  const config = {
    mediaType: 'application/vnd.oci.empty.v1+json',
    digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
    size: 2,
  }
  return Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, artifactType, config, layers: [config] },
      ...{ subject, annotations },
    }),
  )
}

export function indexOf(manifests: object[], extra: object = {}): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests, ...extra }))
}
