/**
 * Compiles repository patterns: `*` within a path segment, `**` across segments, everything else literally.
 * `library/*` matches `library/nginx` but not `library/a/b`; `org/**` matches all below `org/`.
 *
 * @returns whether any of the patterns matches; no pattern at all matches everything
 */
export function globMatcher(patterns: readonly string[]): (text: string) => boolean {
  if (patterns.length === 0) return () => true
  const compiled = patterns.map((pattern) => new RegExp(`^${pattern.split(/(\*+)/).map(translate).join('')}$`))
  return (text) => compiled.some((expression) => expression.test(text))
}

function translate(part: string): string {
  if (part === '*') return '[^/]*'
  if (part.startsWith('**')) return '.*'
  return part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
