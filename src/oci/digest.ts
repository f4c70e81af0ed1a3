import { createHash, type Hash } from 'node:crypto'
import { OciError } from './errors.js'

declare const brand: unique symbol

/** `algorithm:hex`, checked: only the algorithms that this mirror can verify. */
export type Digest = string & { readonly [brand]: 'Digest' }

/** The registered algorithms of the image specification (Descriptor, Registered algorithms) and their hex lengths. */
const HEX_LENGTH: Record<string, number> = { sha256: 64, sha512: 128 }

/** @throws {OciError} DIGEST_INVALID on another grammar, length or algorithm */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw new OciError('DIGEST_INVALID', 'not a digest: expected sha256:<64 hex> or sha512:<128 hex>', {
    detail: { digest: text.slice(0, 160) },
  })
}

export function isDigest(text: string): text is Digest {
  const [algorithm = '', hex = '', ...rest] = text.split(':')
  return rest.length === 0 && hex.length === HEX_LENGTH[algorithm] && /^[0-9a-f]+$/.test(hex)
}

export function algorithmOf(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':'))
}

export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1)
}

/** A running hash of the digest's own algorithm; compare with `digestFrom`. */
export function hasherFor(digest: Digest): Hash {
  return createHash(algorithmOf(digest))
}

/** Ends `hash`, which must have been made by `hasherFor` of a digest of `algorithm`. */
export function digestFrom(hash: Hash, algorithm = 'sha256'): Digest {
  return `${algorithm}:${hash.digest('hex')}` as Digest
}

export function digestOf(bytes: Uint8Array, algorithm = 'sha256'): Digest {
  return digestFrom(createHash(algorithm).update(bytes), algorithm)
}

/** Whether `bytes` are what `digest` names. */
export function matches(digest: Digest, bytes: Uint8Array): boolean {
  return digestOf(bytes, algorithmOf(digest)) === digest
}
