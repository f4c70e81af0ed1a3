import { randomBytes } from 'node:crypto'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { type Pusher, pusher } from '../helpers/push.js'

export interface Descriptor {
  mediaType: string
  digest: string
  size: number
}

/** What a registry holds, to compare with what a client gets. */
export interface Image {
  /** `library/app-1` */
  repository: string
  tag: string
  /** Of the manifest. */
  digest: string
  /** Of the manifest. */
  size: number
  config: Descriptor
  layers: Descriptor[]
}

export interface ImageOptions {
  repository: string
  tag?: string
  /** Sizes in bytes; one layer of 200 KiB when left out. The bytes are random. */
  layers?: number[]
}

const KIB = 1024

/** Pushes an image of random layers to a registry at `url`, which asks for no credentials. */
export async function pushImage(url: string, options: ImageOptions): Promise<Image> {
  const { repository, tag = 'latest', layers = [200 * KIB] } = options
  const push = pusher(url)
  const settings = { architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [] } }
  const config = await pushBlob(push, repository, {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    content: Buffer.from(JSON.stringify({ ...settings, created_by: randomBytes(8).toString('hex') })),
  })
  const described: Descriptor[] = []
  for (const size of layers) {
    const mediaType = 'application/vnd.oci.image.layer.v1.tar'
    described.push(await pushBlob(push, repository, { mediaType, content: randomBytes(size) }))
  }
  const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers: described }
  const bytes = Buffer.from(JSON.stringify(manifest))
  await expectStatus(await push.manifest(repository, tag, bytes), 201)
  return { repository, tag, digest: digestOf(bytes), size: bytes.length, config, layers: described }
}

/** Pushes an image that exists already under another tag, or again after it was overwritten. */
export async function tagImage(from: string, image: Image, tag: string): Promise<Image> {
  const bytes = await manifestOf(from, image)
  await expectStatus(await pusher(from).manifest(image.repository, tag, bytes), 201)
  return { ...image, tag }
}

/** Carries an image to another registry, under its own tag unless one is given. */
export async function copyImage(from: string, to: string, image: Image, tag = image.tag): Promise<Image> {
  const { repository, config, layers } = image
  const push = pusher(to)
  for (const blob of [config, ...layers]) {
    const read = await fetch(`${from}/v2/${repository}/blobs/${blob.digest}`)
    await pushBlob(push, repository, { ...blob, content: Buffer.from(await read.arrayBuffer()) })
  }
  await expectStatus(await push.manifest(repository, tag, await manifestOf(from, image)), 201)
  return { ...image, tag }
}

/** Deletes an image's manifest, and with it the tags that name it. */
export async function deleteImage(url: string, { repository, digest }: Image): Promise<void> {
  await expectStatus(await fetch(`${url}/v2/${repository}/manifests/${digest}`, { method: 'DELETE' }), 202)
}

async function manifestOf(from: string, { repository, digest }: Image): Promise<Buffer<ArrayBuffer>> {
  const path = `/v2/${repository}/manifests/${digest}`
  const read = await fetch(from + path, { headers: { accept: MEDIA_TYPES.ociManifest } })
  return Buffer.from(await read.arrayBuffer())
}

async function pushBlob(
  push: Pusher,
  repository: string,
  { mediaType, content }: { mediaType: string; content: Buffer },
): Promise<Descriptor> {
  const digest = digestOf(content)
  // docker-registry knows no upload in one request.
  await expectStatus(await push.finish(await push.begin(repository), digest, content as Uint8Array<ArrayBuffer>), 201)
  return { mediaType, digest, size: content.length }
}

async function expectStatus(response: Response, status: number): Promise<void> {
  const text = await response.text()
  if (response.status !== status) throw new Error(`a push was answered ${response.status}: ${text.slice(0, 300)}`)
}
