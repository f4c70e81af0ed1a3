import type { Outcome } from '../oci/content.js'
import type { Digest } from '../oci/digest.js'
import type { Repository } from '../oci/reference.js'

/** What became known of a request while it was answered; the access log and the statistics read it at the end. */
export interface RequestFacts {
  /** Set for a manifest or blob once access to it was given. */
  content?: 'manifest' | 'blob'
  registry?: string
  repository?: Repository
  reference?: string
  /** Of the content that is answered, set together with its outcome. */
  digest?: Digest
  outcome?: Outcome
  source?: string | undefined
  /** Who signed in. */
  user?: string | undefined
  /** Body bytes given to the socket. */
  bytes: number
  /** The body could not be completed after its head was sent. */
  broken?: boolean
  error?: unknown
}

declare module 'fastify' {
  interface FastifyRequest {
    facts: RequestFacts
  }
}
