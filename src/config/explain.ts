import type { z } from 'zod'
import { type Issue, valueAt } from './issues.js'
import { keysAt, nearest } from './keys.js'
import { kindOf } from './scalars.js'

type SchemaIssue = z.core.$ZodIssue

const EXPECTED: Record<string, string> = {
  object: 'a map of keys',
  record: 'a map of keys',
  array: 'a list',
  string: 'text',
}

/** What the schema objects to, in this file's words. @param raw what was checked */
export function explain(issue: SchemaIssue, raw: unknown): Issue[] {
  const path = [...issue.path]
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key))
  const value = valueAt(raw, path)
  if (value === undefined) return [{ path, message: `missing key ${JSON.stringify(path.at(-1))}` }]
  return [{ path, message: messageOf(issue, value) }]
}

function unknownKey(path: PropertyKey[], key: string): Issue {
  const meant = nearest(key, keysAt(path))
  const place = path.length === 0 ? 'at the top' : `in ${path.join('.')}`
  const hint = meant ? `: did you mean ${JSON.stringify(meant)}?` : `: known are ${keysAt(path).join(', ')}`
  return { path: [...path, key], message: `unknown key ${JSON.stringify(key)} ${place}${hint}`, atKey: true }
}

function messageOf(issue: SchemaIssue, value: unknown): string {
  if (issue.code === 'invalid_type') {
    const quoted = issue.expected === 'string' && typeof value !== 'object' ? ': put it in quotes' : ''
    return `expected ${EXPECTED[issue.expected] ?? issue.expected}, found ${kindOf(value)}${quoted}`
  }
  if (issue.code !== 'invalid_value') return issue.message
  const values = issue.values.map(String)
  if (typeof value !== 'string') return `expected one of ${values.join(', ')}, found ${kindOf(value)}`
  const meant = nearest(value, values)
  return `${JSON.stringify(value)} is not one of ${values.join(', ')}${meant ? `: did you mean ${meant}?` : ''}`
}
