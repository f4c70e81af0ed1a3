import { EventEmitter } from 'node:events'
import type { Outcome } from './oci/content.js'
import type { Digest } from './oci/digest.js'
import type { Reference, Repository, Tag } from './oci/reference.js'

/** Who was asked for what; `registry` is absent for local repositories. */
interface Subject {
  registry?: string | undefined
  repository: Repository
}

/** What happens in the mirror, told to whoever listens. The one who acts does not know who does. */
export interface Events {
  /** A GET of a manifest or blob was answered to its end; `bytes` is what was sent of the body. */
  'content.served': Subject & {
    content: 'manifest' | 'blob'
    digest: Digest
    outcome: Outcome
    bytes: number
    source: string | undefined
  }
  /** A GET of a manifest or blob ended in an error, before the head or in the middle of the body. */
  'content.failed': Subject & { content: 'manifest' | 'blob'; status: number; bytes: number }
  /** An upstream answered a request; `ttfbMs` from sending to the head. */
  'upstream.answered': { registry: string; upstream: string; status: number; ttfbMs: number }
  /** A body, or a part of one, arrived from an upstream. */
  'upstream.received': { registry: string; upstream: string; bytes: number; durationMs: number }
  /** An upstream failed a request, or a body broke off. */
  'upstream.failed': { registry: string; upstream: string; kind: string; reason: string }
  'upstream.state': { registry: string; upstream: string; state: UpstreamState; reason: string }
  /** Upstreams said differently what a tag is, each word with the name of who said it; `digest` is what was believed. */
  'tag.diverged': Subject & { tag: Tag; digest: Digest; words: readonly { upstream: string; digest: Digest }[] }
  'blob.filled': { digest: Digest; bytes: number; source: string | undefined }
  /** A download is over, well or not: it counts no more as one. */
  'blob.settled': { digest: Digest }
  'blob.evicted': { digest: Digest; bytes: number }
  /** What was pushed and nothing links to any more was given up; `bytes` is what the disk has gained. */
  'blob.collected': { digest: Digest; bytes: number }
  /** A blob was uploaded, or mounted from another repository (`mounted`: none of its `bytes` came over the wire). */
  'blob.pushed': { repository: Repository; digest: Digest; bytes: number; mounted: boolean }
  /** `tags` are all that were set with it. */
  'manifest.pushed': {
    repository: Repository
    reference: Reference
    digest: Digest
    bytes: number
    tags: readonly Tag[]
  }
  'manifest.deleted': { repository: Repository; digest: Digest }
  'tag.deleted': { repository: Repository; tag: string }
  /** It is no more of this repository. */
  'blob.deleted': { repository: Repository; digest: Digest }
}

export type UpstreamState = 'up' | 'open' | 'limited' | 'quarantined'

/** Typed emitter. A listener that throws is the listener's fault: it is reported and changes no answer. */
export class EventBus {
  readonly #emitter = new EventEmitter({ captureRejections: false })
  readonly #onListenerError: (error: unknown) => void

  constructor({ onListenerError }: { onListenerError: (error: unknown) => void }) {
    this.#onListenerError = onListenerError
    this.#emitter.setMaxListeners(0)
  }

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): void {
    this.#emitter.on(name, (event: Events[Name]) => {
      try {
        listener(event)
      } catch (error) {
        this.#onListenerError(error)
      }
    })
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    this.#emitter.emit(name, event)
  }
}
