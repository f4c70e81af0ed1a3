import { BROKEN, type Issue } from './issues.js'

const REFERENCE = /\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?/g

/**
 * Replaces `${NAME}` and `${NAME:-default}` in every text value, keys excepted; `$${` is a plain `${`. The default also
 * stands in for a variable that is set but empty, as in a shell. What comes in is text and stays text.
 *
 * @returns a copy; a value with a fault is `BROKEN` in it
 */
export function interpolate(
  value: unknown,
  env: NodeJS.ProcessEnv,
  issues: Issue[],
  path: PropertyKey[] = [],
): unknown {
  if (typeof value === 'string') {
    const { text, faults } = expand(value, env)
    issues.push(...faults.map((message) => ({ path, message })))
    return faults.length > 0 ? BROKEN : text
  }
  if (Array.isArray(value)) return value.map((item, index) => interpolate(item, env, issues, [...path, index]))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, interpolate(item, env, issues, [...path, key])]),
  )
}

/** Faults name the variable at most: the text around it may be a secret. */
function expand(written: string, env: NodeJS.ProcessEnv): { text: string; faults: string[] } {
  const faults: string[] = []
  const text = written.replace(REFERENCE, (whole, name?: string, hasDefault?: string, fallback?: string) => {
    if (whole === '$${') return '${'
    if (name === undefined) {
      faults.push('a "${" that begins no variable: write ${NAME} or ${NAME:-default}, or $${ for the plain characters')
      return ''
    }
    const value = env[name]
    if (hasDefault !== undefined) return value || (fallback ?? '')
    if (value === undefined)
      faults.push(`environment variable ${name} is not set: set it, or write \${${name}:-default}`)
    return value ?? ''
  })
  return { text, faults }
}
