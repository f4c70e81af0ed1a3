import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { describe, expect, test } from 'vitest'

/** Each part of src and what it may import, besides itself. `app` and `main` may import anything. */
const MAY_IMPORT: Record<string, string[]> = {
  oci: [],
  lib: [],
  events: ['oci'],
  config: ['oci', 'lib'],
  storage: ['oci', 'lib'],
  upstream: ['oci', 'lib', 'events'],
  routing: ['oci', 'lib'],
  metadata: ['oci', 'lib', 'storage'],
  cache: ['oci', 'lib', 'events', 'storage', 'metadata'],
  proxy: ['oci', 'lib', 'events', 'routing', 'upstream', 'cache'],
  registry: ['oci', 'lib', 'events', 'routing', 'storage', 'metadata'],
  gc: ['oci', 'lib', 'events', 'storage', 'metadata'],
  auth: ['oci', 'lib', 'events'],
  audit: ['oci', 'lib', 'events'],
  notifications: ['oci', 'lib', 'events'],
  stats: ['oci', 'lib', 'events'],
  search: ['oci', 'lib', 'metadata'],
  cluster: ['oci', 'lib', 'events', 'metadata', 'upstream'],
  http: ['oci', 'lib', 'events', 'routing', 'registry', 'gc', 'auth', 'stats', 'search'],
  doctor: ['oci', 'lib', 'config', 'app'],
  cli: ['oci', 'lib', 'config', 'app', 'doctor'],
}
const FREE = ['app', 'main']
/** Who may see what a free part exports. */
const IMPORTED_BY: Record<string, string[]> = { app: ['cli', 'main', 'doctor'], main: [] }
const READS_ENVIRONMENT = [/^main\.ts$/, /^config\/load\.ts$/, /^cli\//]

const SRC = join(import.meta.dirname, '../src')
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.ts'))
  .sort()

const partOf = (file: string) => file.split('/')[0]!.replace(/\.[jt]s$/, '')
const sourceOf = (file: string) => readFileSync(join(SRC, file), 'utf8')

/** The files of ours that `file` names after `from` or `import`, types included. */
function importsOf(file: string): string[] {
  return [...sourceOf(file).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) =>
    relative(SRC, join(SRC, dirname(file), path!))
      .split(sep)
      .join('/')
      .replace(/\.js$/, '.ts'),
  )
}

/** @returns the first cycle of files, its first file repeated at its end; empty when there is none */
function findCycle(imports: (file: string) => string[], from: string[]): string[] {
  const done = new Set<string>()
  const visit = (file: string, trail: string[]): string[] => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file]
    if (done.has(file)) return []
    for (const next of imports(file)) {
      const cycle = visit(next, [...trail, file])
      if (cycle.length > 0) return cycle
    }
    done.add(file)
    return []
  }
  for (const file of from) {
    const cycle = visit(file, [])
    if (cycle.length > 0) return cycle
  }
  return []
}

describe('who may import whom', () => {
  test.each(files)('%s imports only what its part may', (file) => {
    const part = partOf(file)
    const imported = importsOf(file).map(partOf)

    const forbidden = imported.filter((other) => {
      if (other === part) return false
      const closed = IMPORTED_BY[other] && !IMPORTED_BY[other].includes(part)
      return closed || !(FREE.includes(part) || MAY_IMPORT[part]?.includes(other))
    })

    expect(forbidden).toEqual([])
  })

  test('every part of src has a row in the table', () => {
    const unknown = files.map(partOf).filter((part) => !(part in MAY_IMPORT) && !FREE.includes(part))

    expect([...new Set(unknown)]).toEqual([])
  })

  test('every relative import is a file of src, with its .js ending', () => {
    const lost = files.flatMap((file) => importsOf(file).filter((path) => !existsSync(join(SRC, path))))

    expect(lost).toEqual([])
  })
})

describe('import cycles', () => {
  test('there is none', () => {
    const known = new Set(files)

    expect(findCycle((file) => importsOf(file).filter((path) => known.has(path)), files)).toEqual([])
  })

  test('one is found when there is one', () => {
    const graph: Record<string, string[]> = { a: ['b'], b: ['c', 'd'], c: [], d: ['b'] }

    expect(findCycle((file) => graph[file]!, ['a', 'c'])).toEqual(['b', 'd', 'b'])
  })
})

test('only config/load.ts, main.ts and cli read the environment', () => {
  const readers = files.filter((file) => /\bprocess\s*(\.\s*env\b|\[\s*'env')/.test(sourceOf(file)))

  expect(readers.filter((file) => !READS_ENVIRONMENT.some((allowed) => allowed.test(file)))).toEqual([])
})
