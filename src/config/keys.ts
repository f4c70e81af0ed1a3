import { z } from 'zod'
import { fileSchema } from './schema.js'

/** The keys that the schema knows at `path`; none where it has no fixed keys. */
export function keysAt(path: PropertyKey[]): string[] {
  let schema: unknown = fileSchema
  for (const key of path) schema = childOf(unwrap(schema), key)
  const at = unwrap(schema)
  return at instanceof z.ZodObject ? Object.keys(at.shape) : []
}

/** Every key of the schema, each once, without its place. */
export function allKeys(schema: unknown = fileSchema): Set<string> {
  const at = unwrap(schema)
  if (at instanceof z.ZodRecord) return allKeys(at.valueType)
  if (at instanceof z.ZodArray) return allKeys(at.element)
  if (!(at instanceof z.ZodObject)) return new Set()
  return new Set(Object.entries(at.shape).flatMap(([key, child]) => [key, ...allKeys(child)]))
}

/** The candidate that was probably meant: one begins with the other, or about a third of the letters differ at most. */
export function nearest(written: string, candidates: readonly string[]): string | undefined {
  const [best] = candidates
    .map((candidate) => ({ candidate, far: difference(written.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ candidate, far }) => far <= Math.ceil(candidate.length / 3))
    .sort((one, other) => one.far - other.far)
  return best?.candidate
}

function unwrap(schema: unknown): unknown {
  const wrapped = schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional
  return wrapped ? unwrap(schema.unwrap()) : schema
}

function childOf(schema: unknown, key: PropertyKey): unknown {
  if (schema instanceof z.ZodObject) return schema.shape[key as string]
  if (schema instanceof z.ZodRecord) return schema.valueType
  return schema instanceof z.ZodArray ? schema.element : undefined
}

function difference(one: string, other: string): number {
  const related = Math.min(one.length, other.length) >= 3 && (one.startsWith(other) || other.startsWith(one))
  return related ? 0 : distance(one, other)
}

/** Levenshtein: insertions, deletions and replacements. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (const [at, letter] of [...one].entries()) {
    const next = [at + 1]
    for (const [index, against] of [...other].entries()) {
      next.push(Math.min(row[index + 1]! + 1, next[index]! + 1, row[index]! + (letter === against ? 0 : 1)))
    }
    row = next
  }
  return row[other.length]!
}
