import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { BROKEN, type Issue } from './issues.js'
import { reasonOf } from './secrets.js'

interface Context {
  folder: string
  issues: Issue[]
}

/** Puts what is in the files that `ca`, `cert` and `key` name in their place, and checks that it is what it should be. */
export function readPemFiles(
  section: Record<string, unknown>,
  path: PropertyKey[],
  context: Context,
): Record<string, unknown> {
  const { issues } = context
  const read = <Parsed>(key: string, what: string, parse: (pem: string) => Parsed) =>
    readPem(section[key], { path: [...path, key], what, parse }, context)
  const ca = read('ca', 'certificate', (pem) => new X509Certificate(pem))
  const cert = read('cert', 'certificate', (pem) => new X509Certificate(pem))
  const key = read('key', 'private key without passphrase', (pem) => createPrivateKey(pem))
  for (const [one, other] of [
    ['cert', 'key'],
    ['key', 'cert'],
  ] as const) {
    if (section[one] && !section[other])
      issues.push({ path: [...path, one], message: `${one} without ${other}`, atKey: true })
  }
  if (cert.parsed && key.parsed && !cert.parsed.checkPrivateKey(key.parsed)) {
    issues.push({ path: [...path, 'key'], message: 'it is not the key of the certificate in cert' })
  }
  const filled: Record<string, unknown> = { ca: ca.value, cert: cert.value, key: key.value }
  return { ...section, ...Object.fromEntries(Object.entries(filled).filter(([, value]) => value !== undefined)) }
}

interface Wanted<Parsed> {
  path: PropertyKey[]
  what: string
  parse: (pem: string) => Parsed
}

/** What is not a path is left to the schema. */
function readPem<Parsed>(
  file: unknown,
  { path, what, parse }: Wanted<Parsed>,
  { folder, issues }: Context,
): { value: unknown; parsed?: Parsed } {
  if (typeof file !== 'string' || file === '' || file === BROKEN) return { value: file }
  const shown = JSON.stringify(file)
  let value: string
  try {
    value = readFileSync(resolve(folder, file), 'utf8')
  } catch (error) {
    issues.push({ path, message: `cannot read ${shown}: ${reasonOf(error)}` })
    return { value: BROKEN }
  }
  try {
    return { value, parsed: parse(value) }
  } catch {
    // what OpenSSL says names routines, and may quote the file
    issues.push({ path, message: `${shown} holds no ${what} in PEM` })
    return { value: BROKEN }
  }
}
