import type { Repository } from '../oci/reference.js'
import type { StorageDriver } from '../storage/driver.js'
import { repositoryPrefix } from '../storage/layout.js'

/**
 * The repositories under `namespaces` that hold a manifest or a tag, in the order of their whole names. Folders are
 * read as the walk gets to them, and those that lie wholly before `last` are not read at all.
 *
 * @param last only names after this one
 */
export async function* repositoriesIn(
  driver: StorageDriver,
  namespaces: readonly string[],
  last = '',
): AsyncGenerator<Repository> {
  yield* walk(driver, namespaces, last)
}

/** A repository and those below it are apart in the order: `a`, `a-b`, `a/b`. So each folder is two steps. */
async function* walk(driver: StorageDriver, names: readonly string[], last: string): AsyncGenerator<Repository> {
  const steps = names.flatMap((name) => [name, `${name}/`]).sort()
  for (const step of steps) {
    const below = step.endsWith('/')
    if (below ? step < last && !last.startsWith(step) : step <= last) continue
    const name = below ? step.slice(0, -1) : step
    const entries = await driver.list(repositoryPrefix(name))
    if (below) yield* walk(driver, foldersIn(name, entries), last)
    else if (entries.includes('_manifests/') || entries.includes('_tags/')) yield name as Repository
  }
}

function foldersIn(parent: string, entries: string[]): string[] {
  return entries
    .filter((entry) => entry.endsWith('/') && !entry.startsWith('_'))
    .map((entry) => `${parent}/${entry.slice(0, -1)}`)
}
