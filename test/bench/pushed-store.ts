import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { blobKey, blobLinkKey, manifestLinkKey, tagLinkKey } from '../../src/storage/layout.js'

/** Of the repository `local/tags`; and how many others have one each. */
export const TAGS = 10_000
const REPOSITORIES = 2_000

const AT_ONCE = 32
const CONFIG = '{}'
const MEDIA_TYPE = MEDIA_TYPES.ociManifest
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(Buffer.from(CONFIG)), size: 2 }
const MANIFEST = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE, config, layers: [] })
const MANIFEST_DIGEST = digestOf(Buffer.from(MANIFEST))

type File = [path: string, text: string]

/** Writes what pushes would have left in the built server's storage. */
export function fillEntrepot(folder: string): Promise<void> {
  const blobs: File[] = [
    [blobKey(config.digest), CONFIG],
    [blobKey(MANIFEST_DIGEST), MANIFEST],
  ]
  const link = JSON.stringify({ mediaType: MEDIA_TYPE, size: MANIFEST.length })
  const tag = JSON.stringify({ digest: MANIFEST_DIGEST, mediaType: MEDIA_TYPE })
  const repository = (name: string, tags: readonly string[]): File[] => [
    [blobLinkKey(name, config.digest), ''],
    [manifestLinkKey(name, MANIFEST_DIGEST), link],
    ...tags.map((each): File => [tagLinkKey(name, each), tag]),
  ]
  return writeAll(folder, [...blobs, ...repositories(repository)])
}

/** The same in the storage of docker-registry and distribution. */
export function fillRegistry(folder: string): Promise<void> {
  const root = 'docker/registry/v2'
  const hex = (digest: string) => digest.replace('sha256:', '')
  const blob = (digest: string) => `${root}/blobs/sha256/${hex(digest).slice(0, 2)}/${hex(digest)}/data`
  const blobs: File[] = [
    [blob(config.digest), CONFIG],
    [blob(MANIFEST_DIGEST), MANIFEST],
  ]
  const repository = (name: string, tags: readonly string[]): File[] => {
    const below = `${root}/repositories/${name}`
    return [
      [`${below}/_layers/sha256/${hex(config.digest)}/link`, config.digest],
      [`${below}/_manifests/revisions/sha256/${hex(MANIFEST_DIGEST)}/link`, MANIFEST_DIGEST],
      ...tags.map((each): File => [`${below}/_manifests/tags/${each}/current/link`, MANIFEST_DIGEST]),
    ]
  }
  return writeAll(folder, [...blobs, ...repositories(repository)])
}

function repositories(filesOf: (name: string, tags: readonly string[]) => File[]): File[] {
  const tags = Array.from({ length: TAGS }, (_, n) => `v${n}`)
  const others = Array.from({ length: REPOSITORIES }, (_, n) => `local/team-${n % 20}/app-${n}`)
  return [...filesOf('local/tags', tags), ...others.flatMap((name) => filesOf(name, ['latest']))]
}

async function writeAll(folder: string, files: readonly File[]): Promise<void> {
  for (const parent of new Set(files.map(([path]) => dirname(join(folder, path)))))
    await mkdir(parent, { recursive: true })
  for (let from = 0; from < files.length; from += AT_ONCE) {
    await Promise.all(files.slice(from, from + AT_ONCE).map(([path, text]) => writeFile(join(folder, path), text)))
  }
}
