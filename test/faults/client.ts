import { MANIFEST_ACCEPT } from '../../src/oci/media-types.js'
import { type Reading, read } from '../helpers/readers.js'
import type { Descriptor, Image } from './content.js'

/** What a pull brought; every byte of it was checked. */
export interface Pulled {
  manifest: Reading
  config: Reading
  layers: Reading[]
  /** From the first request to the last byte, milliseconds. */
  ms: number
}

/** A pull that a client would have given up. */
export class PullError extends Error {
  override readonly name = 'PullError'

  constructor(
    message: string,
    /** The answer that it was given up for. */
    readonly reading: Reading,
  ) {
    super(`${message}: ${reading.status} ${reading.text.slice(0, 500)}`)
  }
}

/**
 * Pulls an image as dockerd does: HEAD of the tag, GET of the manifest by its digest, then config and layers at once; never
 * a second try. Status, digest and length of everything must be those of `image`.
 *
 * @param url of the mirror
 * @throws {PullError} for a wrong answer; an Error of the socket when a body is cut
 */
export async function pull(url: string, image: Image): Promise<Pulled> {
  const startedAt = performance.now()
  await headTag(url, image)
  const manifest = await fetchManifest(url, image, image.digest)
  const [config, ...layers] = await Promise.all(
    [image.config, ...image.layers].map((descriptor) => fetchBlob(url, image.repository, descriptor)),
  )
  return { manifest, config: config!, layers, ms: performance.now() - startedAt }
}

/** HEAD of the image's tag. @throws {PullError} unless it names the image's digest and length */
export async function headTag(url: string, { repository, tag, digest, size }: Image): Promise<Reading> {
  const reading = await read(`${url}/v2/${repository}/manifests/${tag}`, { accept: MANIFEST_ACCEPT }, 'HEAD')
  expectStatus(reading, `HEAD of ${repository}:${tag}`)
  const { 'docker-content-digest': named, 'content-length': length } = reading.headers
  if (named !== digest || Number(length) !== size) throw new PullError(`HEAD names ${named} of ${length}`, reading)
  return reading
}

/** The image's manifest by its tag, or by the digest given. */
export async function fetchManifest(url: string, image: Image, reference = image.tag): Promise<Reading> {
  const path = `/v2/${image.repository}/manifests/${reference}`
  const reading = await read(url + path, { accept: MANIFEST_ACCEPT })
  expectStatus(reading, path)
  return expectContent(reading, image, path)
}

export async function fetchBlob(
  url: string,
  repository: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): Promise<Reading> {
  const path = `/v2/${repository}/blobs/${digest}`
  const reading = await read(url + path)
  expectStatus(reading, path)
  return expectContent(reading, { digest, size }, path)
}

function expectStatus(reading: Reading, what: string): void {
  if (reading.status !== 200) throw new PullError(what, reading)
}

function expectContent(reading: Reading, { digest, size }: { digest: string; size: number }, what: string): Reading {
  if (reading.digest === digest && reading.bytes === size) return reading
  throw new PullError(`${what} came as ${reading.digest} of ${reading.bytes} bytes`, reading)
}
