/** What is wrong with a line, counted from 1; never with what stands in it, which may be a password. */
export interface HtpasswdFault {
  line: number
  message: string
}

/** Each user's bcrypt hash, by name. */
export type Users = ReadonlyMap<string, string>

/** Stands for everybody in access rules, so that no user can have it. */
export const ANYBODY = 'anonymous'
/** Beyond it one check takes seconds. */
const HIGHEST_COST = 16
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/

/** Formats that htpasswd writes and that are no bcrypt, by how they begin. */
const OTHERS: [string, string][] = [
  ['$apr1$', 'MD5'],
  ['{SHA}', 'SHA-1'],
  ['$5$', 'SHA-256'],
  ['$6$', 'SHA-512'],
  ['$argon2', 'argon2'],
]

/** Reads a file of `name:hash` lines; empty lines and lines that begin with # are passed over. */
export function parseHtpasswd(text: string): { users: Users; faults: HtpasswdFault[] } {
  const users = new Map<string, string>()
  const faults: HtpasswdFault[] = []
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const { name, hash, fault } = parseLine(line)
    const message = users.has(name) ? 'a second line of the same user: keep one' : fault
    if (message === undefined) users.set(name, hash)
    else faults.push({ line: index + 1, message })
  }
  return { users, faults }
}

function parseLine(line: string): { name: string; hash: string; fault: string | undefined } {
  const colon = line.indexOf(':')
  const [name, hash] = colon < 0 ? ['', ''] : [line.slice(0, colon), line.slice(colon + 1).trimEnd()]
  return { name, hash, fault: colon < 0 ? 'no colon between a name and a hash' : (nameFault(name) ?? hashFault(hash)) }
}

/** Why `name` can be no user's, to stand after it; `undefined` when it can. */
export function nameFault(name: string): string | undefined {
  if (name === ANYBODY) return `${ANYBODY} stands for everybody and can be no user`
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in it
  if (/^[^\s:#\u0000-\u001f\u007f][^:\u0000-\u001f\u007f]{0,127}$/.test(name)) return undefined
  return 'a name is 1 to 128 characters, none of them a colon or control character, the first no # or space'
}

function hashFault(hash: string): string | undefined {
  const cost = Number(BCRYPT.exec(hash)?.[1])
  if (cost >= 4 && cost <= HIGHEST_COST) return undefined
  if (cost > HIGHEST_COST) return `a bcrypt cost above ${HIGHEST_COST}, which takes seconds for each login`
  const known = OTHERS.find(([start]) => hash.startsWith(start))?.[1]
  return `${known ? `${known} is` : 'this is'} no bcrypt hash: write the line with "entrepot passwd" or "htpasswd -B"`
}
