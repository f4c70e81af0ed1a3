import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { fallbackTag } from '../../src/oci/referrers.js'

/** One manifest that may be pushed; the same bytes in every repository. */
export interface Artifact {
  name: string
  bytes: Buffer
  digest: Digest
  type: string
  /** Names of what it lists as an index. */
  children: string[]
  blobs: Digest[]
  /** Name of what it refers to. */
  subject: string | undefined
}

const LAYERS = ['base layer', 'layer one', 'layer two', 'layer three'].map((text) => Buffer.from(text))
const CONFIG = Buffer.from('{"architecture":"amd64","os":"linux"}')

/** Every blob there is, by digest. */
export const BLOBS = new Map([...LAYERS, CONFIG].map((bytes) => [digestOf(bytes), bytes]))

const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length })

function image(name: string, layers: number[], subject?: Artifact): Artifact {
  const contents = [CONFIG, ...layers.map((at) => LAYERS[at]!)]
  const [config, ...rest] = contents.map((bytes) => describe('application/octet-stream', bytes))
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config,
    layers: rest,
    ...(subject && { subject: describe(subject.type, subject.bytes) }),
    annotations: { name },
  }
  return artifact({ name, manifest, children: [], blobs: contents.map((bytes) => digestOf(bytes)), subject })
}

function index(name: string, children: Artifact[]): Artifact {
  const manifests = children.map(({ type, bytes }) => describe(type, bytes))
  const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests, annotations: { name } }
  return artifact({ name, manifest, children: children.map((child) => child.name), blobs: [], subject: undefined })
}

function artifact(parts: {
  name: string
  manifest: { mediaType: string }
  children: string[]
  blobs: Digest[]
  subject: Artifact | undefined
}): Artifact {
  const { name, manifest, children, blobs, subject } = parts
  const bytes = Buffer.from(JSON.stringify(manifest))
  const facts = { bytes, digest: digestOf(bytes), type: manifest.mediaType }
  return { name, ...facts, children, blobs, subject: subject?.name }
}

const [a, b, c] = [image('a', [0, 1]), image('b', [0, 2]), image('c', [3])] as const

/** Images that share layers, indexes that share images, a signature of one by its subject and one by its tag. */
export const ARTIFACTS = new Map(
  [a, b, c, index('ab', [a, b]), index('bc', [b, c]), image('sig', [2], a), image('cosign', [1])].map((each) => [
    each.name,
    each,
  ]),
)

/** What `SIGNATURE_TAG` speaks of. */
export const SIGNED = 'a'
export const SIGNATURE_TAG = `${fallbackTag(a.digest)}.sig`

/** The last is under a rule, which takes all tags but the newest and those that begin with a v, and what has none. */
export const REPOSITORIES = ['local/app', 'local/team/web', 'local/ci/job'] as const
export const RETENTION = 'retention: [{ repositories: "local/ci/**", keepLast: 1, keepTags: ["v*"], untagged: 1h }]'

export const isRuled = (repository: string): boolean => repository.startsWith('local/ci/')
export const isTakenByRule = (tag: string): boolean => !tag.startsWith('v') && tag !== SIGNATURE_TAG
