import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { BROKEN, type Issue, isMap } from './issues.js'

/** Reads `usernameFile` and `passwordFile` of one upstream, and of each of its `credentials`. An empty credential is none. */
export function readCredentials(
  upstream: Record<string, unknown>,
  path: PropertyKey[],
  context: { folder: string; issues: Issue[] },
): Record<string, unknown> {
  const { credentials, ...filled } = readAccount(upstream, path, context)
  if (!Array.isArray(credentials)) return { ...filled, ...(credentials === undefined ? {} : { credentials }) }
  const read = credentials.map((account, index) =>
    isMap(account) ? readAccount(account, [...path, 'credentials', index], context) : account,
  )
  return { ...filled, credentials: read }
}

function readAccount(
  upstream: Record<string, unknown>,
  path: PropertyKey[],
  { folder, issues }: { folder: string; issues: Issue[] },
): Record<string, unknown> {
  const filled = { ...upstream }
  for (const key of ['username', 'password']) {
    const file = filled[`${key}File`]
    if (typeof file === 'string' && key in upstream) {
      issues.push({ path: [...path, `${key}File`], message: `both ${key} and ${key}File: keep one`, atKey: true })
    } else if (typeof file === 'string') {
      filled[key] = file === BROKEN ? BROKEN : readSecret(resolve(folder, file), file, [...path, `${key}File`], issues)
    }
    if (filled[key] === '') delete filled[key]
  }
  return filled
}

/** The text of a file without the line end that editors and `echo` put there. */
function readSecret(file: string, shown: string, path: PropertyKey[], issues: Issue[]): string {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    issues.push({ path, message: `cannot read ${JSON.stringify(shown)}: ${reasonOf(error)}` })
    return BROKEN
  }
}

/** The system's reason in words, without the path that Node repeats in its message. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const words: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'it is a folder',
    ENOTDIR: 'no such folder',
  }
  return words[code ?? ''] ?? code ?? message
}
