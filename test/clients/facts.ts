import { createHash } from 'node:crypto'
import type { Tools } from './tools.js'

export interface ManifestFacts {
  digest: string
  mediaType: string
  config: string | undefined
  layers: { digest: string; size: number }[]
  /** Architecture to digest, for a list. */
  platforms: Record<string, string>
}

interface RawManifest {
  mediaType?: string
  config?: { digest: string }
  layers?: { digest: string; size: number }[]
  manifests?: { digest: string; platform: { architecture: string } }[]
}

/** What a registry holds under a name, as skopeo reads it from that registry itself. */
export async function factsOf(skopeo: Tools['skopeo'], image: string): Promise<ManifestFacts> {
  const { stdout } = await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${image}`)
  const raw = JSON.parse(stdout) as RawManifest
  return {
    digest: `sha256:${createHash('sha256').update(stdout).digest('hex')}`,
    mediaType: raw.mediaType ?? '',
    config: raw.config?.digest,
    layers: raw.layers ?? [],
    platforms: Object.fromEntries((raw.manifests ?? []).map(({ digest, platform }) => [platform.architecture, digest])),
  }
}
