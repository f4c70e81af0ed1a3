import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { readUsers } from './auth.js'
import type { Config } from './config.js'
import { explain } from './explain.js'
import { interpolate } from './interpolate.js'
import { BROKEN, type Issue, isMap, valueAt } from './issues.js'
import { upstreamName } from './names.js'
import { readPemFiles } from './pem-files.js'
import { toConfig } from './resolve.js'
import { checkRules } from './rules.js'
import { fileSchema } from './schema.js'
import { readCredentials, reasonOf } from './secrets.js'
import { fillIn } from './shipped.js'
import { type Located, YamlSource } from './yaml-source.js'

export const DEFAULT_FILE = 'mirrors.yaml'

/** One thing that is wrong with a file; line and column count from 1. */
export interface Fault extends Located {
  /** As it was named by whoever asked. */
  file: string
  /** The upstream that it is about, as `docker.io/nju`. */
  entry?: string | undefined
}

/** Everything that is wrong with a configuration; the message is one `file:line:column: message` a line, in order, with the
 * name of the upstream before the message if it is about one. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: Fault[]

  constructor(faults: Fault[]) {
    const sorted = [...faults].sort((one, other) => one.line - other.line || one.column - other.column)
    super(sorted.map(printFault).join('\n'))
    this.faults = sorted
  }
}

function printFault({ file, line, column, entry, message }: Fault): string {
  return `${file}:${line}:${column}: ${entry === undefined ? '' : `${entry}: `}${message}`
}

export interface LoadOptions {
  /** Must exist when given; otherwise `mirrors.yaml` in `cwd` if it is there, and built-in defaults if not. */
  file?: string | undefined
  env: NodeJS.ProcessEnv
  /** Absolute; what `file` is relative to. */
  cwd: string
}

/**
 * Reads and checks the whole configuration.
 *
 * @returns the configuration, deeply frozen, and the absolute path of its file, if there is one
 * @throws {ConfigError} with every fault of the file
 */
export function loadConfig({ file, env, cwd }: LoadOptions): { config: Config; file: string | undefined } {
  const shown = file ?? DEFAULT_FILE
  const path = resolve(cwd, shown)
  const text = readText(path, shown, file !== undefined)
  const folder = text === undefined ? cwd : dirname(path)
  const source = new YamlSource(text ?? '')
  const checked = check(source, { env, folder })
  if ('config' in checked) return { config: deepFreeze(checked.config), file: text === undefined ? undefined : path }
  const name = text === undefined ? '(built-in defaults)' : shown
  throw new ConfigError(checked.faults.map((fault) => ({ ...fault, file: name })))
}

/**
 * Where a configuration has its users, though the file may not be there yet, whatever else is wrong with it.
 *
 * @returns an absolute path
 * @throws {ConfigError} when it names none
 */
export function htpasswdPath({ file, env, cwd }: LoadOptions): string {
  const shown = file ?? DEFAULT_FILE
  const path = resolve(cwd, shown)
  const source = new YamlSource(readText(path, shown, file !== undefined) ?? '')
  const issues: Issue[] = []
  const content = source.content()
  const written = interpolate(valueAt(content, ['auth', 'htpasswd']), env, issues)
  if (typeof written === 'string' && written !== '' && issues.length === 0) return resolve(dirname(path), written)
  const { line, column } = source.placeOf(['auth'])
  const message = 'names no file of users: write auth: { htpasswd: users.htpasswd }'
  throw new ConfigError([{ file: shown, line, column, message }])
}

function readText(path: string, shown: string, required: boolean): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ConfigError([{ file: shown, line: 1, column: 1, message: `cannot be read: ${reasonOf(error)}` }])
  }
}

interface Surroundings {
  env: NodeJS.ProcessEnv
  folder: string
}

function check(
  source: YamlSource,
  { env, folder }: Surroundings,
): { config: Config } | { faults: Omit<Fault, 'file'>[] } {
  const issues: Issue[] = []
  const raw = withFiles(interpolate(fillIn(source.content()), env, issues), { folder, issues })
  const parsed = fileSchema.safeParse(raw)
  const found = [...(parsed.error?.issues ?? []).flatMap((issue) => explain(issue, raw)), ...checkRules(raw)]
  issues.push(...found.filter(({ path }) => valueAt(raw, path) !== BROKEN))
  const faults = [...source.faults(), ...locate(issues, source, raw)]
  return parsed.success && faults.length === 0 ? { config: toConfig(parsed.data, folder) } : { faults }
}

/** Past the first error of syntax nothing was read as it was meant, and what is said of it would mislead. */
function locate(issues: Issue[], source: YamlSource, raw: unknown): Omit<Fault, 'file'>[] {
  const end = source.brokenFrom()
  return issues
    .map(({ path, message, atKey }) => {
      const { missing, ...place } = source.placeOf(path, atKey)
      // Far from what is written, as in a built-in upstream, the place alone says nothing.
      const text = missing > 1 ? `${path.join('.')}: ${message}` : message
      return { ...place, message: text, entry: upstreamAt(path, raw) }
    })
    .filter(({ line }) => end === undefined || line < end.line)
}

/** The upstream that a path leads into, if it can be named. */
function upstreamAt([section, registry, list, index]: PropertyKey[], raw: unknown): string | undefined {
  if (section !== 'registries' || list !== 'upstreams' || index === undefined) return undefined
  const path = ['registries', registry!, 'upstreams', index]
  const name = upstreamName(valueAt(raw, [...path, 'name']), valueAt(raw, [...path, 'url']))
  return name === undefined || name === BROKEN ? undefined : `${String(registry)}/${name}`
}

/** Puts what is in files that are named in the place of their names. */
function withFiles(raw: unknown, context: { folder: string; issues: Issue[] }): unknown {
  if (!isMap(raw)) return raw
  const { upstream, auth } = raw
  const all: Record<string, unknown> = { ...raw }
  if (isMap(upstream)) all.upstream = readPemFiles(upstream, ['upstream'], context)
  if (isMap(auth)) all.auth = readUsers(auth, context)
  if (!isMap(raw.registries)) return all
  const registries = Object.entries(raw.registries).map(([name, registry]): [string, unknown] => {
    if (!isMap(registry) || !Array.isArray(registry.upstreams)) return [name, registry]
    const upstreams = registry.upstreams.map((each, index) => {
      const path = ['registries', name, 'upstreams', index]
      return isMap(each) ? readPemFiles(readCredentials(each, path, context), path, context) : each
    })
    return [name, { ...registry, upstreams }]
  })
  return { ...all, registries: Object.fromEntries(registries) }
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
