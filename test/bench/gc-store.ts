import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { Repository, Tag } from '../../src/oci/reference.js'
import { blobKey, blobLinkKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'

const AT_ONCE = 32

export interface MadeImage {
  repository: Repository
  tag: Tag
  /** Nothing names its blobs: its manifest was deleted. */
  garbage: boolean
}

/** Writes images as pushes would have left them: each manifest names a config and layers of its own, in repositories of 100. */
export async function makeStore(
  folder: string,
  { manifests, blobsEach, garbageEvery }: { manifests: number; blobsEach: number; garbageEvery: number },
): Promise<MadeImage[]> {
  const made = new Set<string>()
  const write = async (key: string, content: string) => {
    const path = join(folder, key)
    if (!made.has(dirname(path))) await mkdir(dirname(path), { recursive: true })
    made.add(dirname(path))
    await writeFile(path, content)
  }
  const image = async (n: number): Promise<MadeImage> => {
    const repository = `local/r${Math.floor(n / 100)}` as Repository
    const described = []
    for (let at = 0; at < blobsEach; at++) {
      const content = `blob ${at} of image ${n}`
      const digest = digestOf(Buffer.from(content))
      await write(blobKey(digest), content)
      await write(blobLinkKey(repository, digest), '')
      described.push({ mediaType: 'application/octet-stream', digest, size: content.length })
    }
    const garbage = n % garbageEvery === 0
    const tag = `v${n}` as Tag
    if (!garbage) await manifest(write, { repository, tag, described })
    return { repository, tag, garbage }
  }
  const images: MadeImage[] = []
  for (let from = 0; from < manifests; from += AT_ONCE) {
    const few = Array.from({ length: Math.min(AT_ONCE, manifests - from) }, (_, at) => image(from + at))
    images.push(...(await Promise.all(few)))
  }
  return images
}

async function manifest(
  write: (key: string, content: string) => Promise<void>,
  { repository, tag, described }: { repository: Repository; tag: Tag; described: { digest: Digest }[] },
): Promise<void> {
  const [config, ...layers] = described
  const mediaType = MEDIA_TYPES.ociManifest
  const content = JSON.stringify({ schemaVersion: 2, mediaType, config, layers })
  const digest = digestOf(Buffer.from(content))
  await write(blobKey(digest), content)
  await write(manifestLinkKey(repository, digest), JSON.stringify({ mediaType, size: content.length }))
  await write(tagLinkKey(repository, tag), JSON.stringify({ digest, mediaType }))
}
