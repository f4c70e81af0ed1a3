import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { ANYBODY, nameFault, parseHtpasswd } from '../lib/htpasswd.js'
import { UnitError } from '../lib/units.js'
import { BROKEN, entriesOf, type Issue, isMap, itemsOf, valueAt } from './issues.js'
import { quantity, scalar } from './scalars.js'
import { reasonOf } from './secrets.js'
import { DOCKER_HUB } from './shipped.js'
import { upstreamUrl } from './upstream-url.js'

type Action = 'pull' | 'push' | 'delete'

/** Who may do what. */
export interface AuthConfig {
  /** The file of the users, absolute; undefined: there are none, and nobody is asked for a password. */
  htpasswd?: string | undefined
  /** Where clients fetch tokens; undefined: `/token` at the address that they use. */
  realm?: string | undefined
  /** What everybody may do, where no rule speaks of the repository. */
  anonymous: Action[]
  /** Never empty. `users` undefined: every user. */
  access?: { repositories: string; users?: string[] | undefined; actions: Action[] }[] | undefined
  /** Never empty. */
  admins?: string[] | undefined
}

const actions = () => z.array(z.enum(['pull', 'push', 'delete']))
const user = (mayBeAnybody: boolean) =>
  quantity((text) => {
    const fault = mayBeAnybody && text === ANYBODY ? undefined : nameFault(text)
    if (fault !== undefined) throw new UnitError(`${JSON.stringify(text)}: ${fault}`)
    return text
  })

/** `auth`, as it stands in the file. */
export const authSchema = z.strictObject({
  htpasswd: z.string().optional(),
  realm: quantity(realmUrl).optional(),
  anonymous: actions().default(['pull']),
  access: z
    .array(
      z.strictObject({
        repositories: scalar(
          /^[a-z0-9._*-]+(:\d{1,5})?(\/[a-z0-9._*-]+)*$/,
          'a pattern of repositories such as local/team-a/** or docker.io/library/*',
        ),
        users: z
          .array(user(true))
          .min(1, 'no users: leave the key out for every user, or write [anonymous] for everybody')
          .optional(),
        actions: actions(),
      }),
    )
    .min(1, 'no rules: list at least one, or leave the key out')
    .optional(),
  admins: z.array(user(false)).min(1, 'no admins: list at least one, or leave the key out').optional(),
})

/** @throws {UnitError} */
function realmUrl(text: string): string {
  const url = new URL(upstreamUrl(text))
  return url.pathname === '/' ? `${url.origin}/token` : url.href
}

/** Finds and checks the file of users; its own path is put in its place. Empty is none. */
export function readUsers(
  auth: Record<string, unknown>,
  { folder, issues }: { folder: string; issues: Issue[] },
): Record<string, unknown> {
  const { htpasswd, ...rest } = auth
  if (typeof htpasswd !== 'string' || htpasswd === BROKEN) return auth
  if (htpasswd === '') return rest
  const file = resolve(folder, htpasswd)
  const fault = faultOf(file, htpasswd)
  if (fault !== undefined) issues.push({ path: ['auth', 'htpasswd'], message: fault })
  return { ...auth, htpasswd: fault === undefined ? file : BROKEN }
}

function faultOf(file: string, shown: string): string | undefined {
  try {
    const { faults } = parseHtpasswd(readFileSync(file, 'utf8'))
    return faults.length === 0
      ? undefined
      : faults.map(({ line, message }) => `${shown}:${line}: ${message}`).join('; ')
  } catch (error) {
    const help = (error as NodeJS.ErrnoException).code === 'ENOENT' ? ': "entrepot passwd USER" makes it' : ''
    return `cannot read ${JSON.stringify(shown)}: ${reasonOf(error)}${help}`
  }
}

/** What is wrong with `auth` as a whole: users where none can sign in, patterns that no repository has. */
export function checkAuth(raw: unknown): Issue[] {
  const auth = valueAt(raw, ['auth'])
  const rules = itemsOf(valueAt(auth, ['access']))
  const patterns = rules.flatMap((rule, index) => patternIssues(rule, ['auth', 'access', index, 'repositories'], raw))
  return !isMap(auth) || auth.htpasswd !== undefined ? patterns : [...patterns, ...withoutUsers(auth, rules)]
}

function withoutUsers(auth: Record<string, unknown>, rules: unknown[]): Issue[] {
  const keys = ['realm', 'admins'].filter((key) => auth[key] !== undefined)
  const help = 'set auth.htpasswd, without which nobody can sign in'
  const meant = rules.flatMap((rule, index) => {
    const users = valueAt(rule, ['users'])
    if (!isMap(rule) || itemsOf(users).every((name) => name === ANYBODY) === (users !== undefined)) return []
    const path: PropertyKey[] = ['auth', 'access', index, ...(users === undefined ? [] : ['users'])]
    return [{ path, message: `a rule for users: ${help}, or write users: [${ANYBODY}] for everybody` }]
  })
  return [...keys.map((key) => ({ path: ['auth', key], message: `${key}: ${help}`, atKey: true })), ...meant]
}

/** A name begins with a local namespace or with the registry that it is mirrored from. */
function patternIssues(rule: unknown, path: PropertyKey[], raw: unknown): Issue[] {
  const pattern = valueAt(rule, ['repositories'])
  if (typeof pattern !== 'string' || pattern === BROKEN) return []
  const [first = '', ...rest] = pattern.split('/')
  if (first.includes('*')) return []
  const registries = entriesOf(valueAt(raw, ['registries'])).map(([name]) => name)
  const namespaces = itemsOf(valueAt(raw, ['local', 'namespaces']) ?? ['local'])
  if (first === DOCKER_HUB && rest.length === 1 && !rest[0]!.includes('*'))
    return [{ path, message: `${JSON.stringify(pattern)} is no repository: write ${DOCKER_HUB}/library/${rest[0]}` }]
  if (registries.includes(first) || namespaces.includes(first)) return []
  const known = [...namespaces, ...registries].map(String)
  return [{ path, message: `${JSON.stringify(pattern)} matches nothing: names begin with ${known.join(', ')}` }]
}
