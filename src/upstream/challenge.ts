/** One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1); scheme and parameter names in lower case. */
export interface Challenge {
  scheme: string
  params: Record<string, string>
}

/** Either `name=value` (quoted or not) or a scheme that begins the next challenge. */
const PART = /([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))|(?=[\s,]|$))/y
const GAP = /[\s,]*/y
/** What cannot be read (a token68, an open quote) is skipped up to the next comma. */
const SKIP = /[^,]*/y

/** All challenges of a header, which may come several times and may hold several challenges each. */
export function parseChallenges(header: string | string[] | undefined): Challenge[] {
  return [header ?? []].flat().flatMap(parseOne)
}

function parseOne(header: string): Challenge[] {
  const challenges: Challenge[] = []
  let position = 0
  const take = (pattern: RegExp) => {
    pattern.lastIndex = position
    const match = pattern.exec(header)
    if (match) position = pattern.lastIndex
    return match
  }
  while (position < header.length) {
    take(GAP)
    const part = take(PART)
    if (!part) {
      const before = position
      take(SKIP)
      if (position === before) position++
      continue
    }
    const [, name = '', quoted, plain] = part
    const value = quoted?.replaceAll(/\\(.)/g, '$1') ?? plain
    const current = challenges.at(-1)
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), params: {} })
    else if (current) current.params[name.toLowerCase()] = value
  }
  return challenges
}
