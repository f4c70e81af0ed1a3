import type { UpstreamError } from './errors.js'

/** What a failure means for the upstream's next requests. */
export type Consequence =
  /** None: it answered, and the answer concerns one name only. */
  | { kind: 'alive' }
  /** One of several in a row that will open the circuit. */
  | { kind: 'count' }
  /** The circuit opens at once: finding out again would cost every request a time limit. */
  | { kind: 'open' }
  /** Not asked for so long. */
  | { kind: 'rest'; forMs: number }

const REST_MS = 60_000
const REST_LIMIT_MS = 15 * 60_000
const QUOTA_REST_MS = 10 * 60_000

export function consequenceOf(error: UpstreamError): Consequence {
  const { kind, unreached, silent, trickling, foreign, retryAfterMs } = error
  switch (kind) {
    case 'down':
    case 'slow':
      if (trickling) return { kind: 'alive' }
      return unreached || silent ? { kind: 'open' } : { kind: 'count' }
    case 'lying':
      // Anybody can publish a manifest that is too large, or that gives a layer a wrong size: no fault of the registry.
      return foreign ? { kind: 'count' } : { kind: 'alive' }
    case 'limited':
      return { kind: 'rest', forMs: Math.min(retryAfterMs ?? REST_MS, REST_LIMIT_MS) }
    case 'quota':
      return { kind: 'rest', forMs: QUOTA_REST_MS }
    case 'denied':
    case 'not-found':
      return { kind: 'alive' }
  }
}
