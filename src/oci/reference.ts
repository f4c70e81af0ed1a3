import { type Digest, isDigest, parseDigest } from './digest.js'
import { OciError } from './errors.js'

declare const brand: unique symbol

/** A repository name in the specification's grammar, lower case, at most 255 characters. */
export type Repository = string & { readonly [brand]: 'Repository' }
export type Tag = string & { readonly [brand]: 'Tag' }

/** What a manifest is asked by: a tag, which can move, or a digest, which cannot. */
export type Reference = { kind: 'tag'; tag: Tag } | { kind: 'digest'; digest: Digest }

const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
/** A registry host as first segment may carry a port; no repository component holds a colon. */
const HOST = /^[a-z0-9]+(?:[.-][a-z0-9]+)*(?::[0-9]{1,5})?$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const NAME_LIMIT = 255

/**
 * `org/app`, or `registry.example:5000/org/app`: the first segment may be a registry host.
 *
 * @throws {OciError} NAME_INVALID
 */
export function parseRepository(text: string): Repository {
  if (isRepository(text)) return text
  throw new OciError(
    'NAME_INVALID',
    `not a repository name: lower-case components joined by /, at most ${NAME_LIMIT} characters`,
    {
      detail: { name: text.slice(0, 160) },
    },
  )
}

export function isRepository(text: string): text is Repository {
  const [first = '', ...rest] = text.split('/')
  const firstFits = COMPONENT.test(first) || (rest.length > 0 && HOST.test(first))
  return text.length <= NAME_LIMIT && firstFits && rest.every((component) => COMPONENT.test(component))
}

/** @throws {OciError} MANIFEST_INVALID on a bad tag, DIGEST_INVALID on a bad digest */
export function parseReference(text: string): Reference {
  return text.includes(':') ? { kind: 'digest', digest: parseDigest(text) } : { kind: 'tag', tag: parseTag(text) }
}

/** @throws {OciError} MANIFEST_INVALID */
export function parseTag(text: string): Tag {
  if (TAG.test(text)) return text as Tag
  throw new OciError(
    'MANIFEST_INVALID',
    'not a tag: at most 128 of letters, digits, _ . and -, not beginning with . or -',
    {
      detail: { tag: text.slice(0, 160) },
    },
  )
}

export function isTag(text: string): text is Tag {
  return TAG.test(text)
}

export function printReference(reference: Reference): string {
  return reference.kind === 'tag' ? reference.tag : reference.digest
}

/** What a digest or tag stands for in a path: the inverse of `printReference` for text already known good. */
export function referenceOf(text: Tag | Digest): Reference {
  return isDigest(text) ? { kind: 'digest', digest: text } : { kind: 'tag', tag: text as Tag }
}
