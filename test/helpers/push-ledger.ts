import type { Digest } from '../../src/oci/digest.js'

/** Where a tag may point: what was acknowledged last, and what was asked for since then. */
interface TagState {
  acknowledged: Digest | 'absent'
  /** Asked for and not answered: each of these may have come true. */
  asked: (Digest | 'absent')[]
}

export interface PushedBlob {
  repository: string
  digest: Digest
}

export interface PushedManifest extends PushedBlob {
  children: Digest[]
}

export interface PushedTag {
  repository: string
  tag: string
  /** Each of them is right. */
  allowed: (Digest | 'absent')[]
}

/** An upload of which some bytes were acknowledged. */
export interface OpenUpload {
  repository: string
  /** A path. */
  location: string
  bytes: Buffer
  acknowledged: number
}

/** What a registry has said that it keeps, and what it was asked for without an answer. */
export class PushLedger {
  readonly blobs: PushedBlob[] = []
  readonly manifests: PushedManifest[] = []
  /** Not acknowledged: may be there whole, or not at all. */
  readonly unanswered: (PushedBlob & { kind: 'blobs' | 'manifests' })[] = []
  readonly uploads = new Set<OpenUpload>()
  readonly #tags = new Map<string, TagState>()

  /** Runs a request that is to keep content; what fails is remembered as unanswered. */
  async content(kind: 'blobs' | 'manifests', pushed: PushedManifest, request: () => Promise<void>): Promise<void> {
    try {
      await request()
    } catch (error) {
      this.unanswered.push({ kind, repository: pushed.repository, digest: pushed.digest })
      throw error
    }
    if (kind === 'blobs') this.blobs.push(pushed)
    else this.manifests.push(pushed)
  }

  /** Runs a request after which the tag is to point to `target`. One at a time for each tag. */
  async tag(repository: string, tag: string, target: Digest | 'absent', request: () => Promise<void>): Promise<void> {
    const key = `${repository}:${tag}`
    const state = this.#tags.get(key) ?? { acknowledged: 'absent', asked: [] }
    this.#tags.set(key, state)
    state.asked.push(target)
    await request()
    state.acknowledged = target
    state.asked = []
  }

  get tags(): PushedTag[] {
    return [...this.#tags].map(([key, { acknowledged, asked }]) => {
      const [repository = '', tag = ''] = key.split(':')
      return { repository, tag, allowed: [acknowledged, ...asked] }
    })
  }

  /** After a restart: what it points to now counts as acknowledged. */
  settle(repository: string, tag: string, target: Digest | 'absent'): void {
    this.#tags.set(`${repository}:${tag}`, { acknowledged: target, asked: [] })
  }
}
