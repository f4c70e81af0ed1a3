import type { StorageDriver } from './driver.js'
import { attachedRoot, repositoriesPrefix } from './layout.js'

/**
 * Every repository that has link files, at any depth, by its name on disk: pushed to, read through, and, below
 * `_attached/`, what was pushed to one that is read through. `isPushedTo` (layout.ts) tells them apart.
 *
 * @param parent only those below it
 * @param unlisted is told of each folder that cannot be listed, so that the others come all the same; it may throw, as it
 *   does by default
 */
export async function* repositoriesOnDisk(
  driver: StorageDriver,
  parent = '',
  unlisted: (folder: string, error: unknown) => void = rethrow,
): AsyncGenerator<string> {
  const entries = await listed(driver, parent, unlisted)
  if (parent !== '' && entries.some((entry) => entry.startsWith('_'))) yield parent
  for (const entry of entries) {
    const attached = parent === '' && entry === `${attachedRoot}/`
    if (!entry.endsWith('/') || (entry.startsWith('_') && !attached)) continue
    const name = entry.slice(0, -1)
    yield* repositoriesOnDisk(driver, parent === '' ? name : `${parent}/${name}`, unlisted)
  }
}

async function listed(
  driver: StorageDriver,
  parent: string,
  unlisted: (folder: string, error: unknown) => void,
): Promise<string[]> {
  try {
    return await driver.list(parent === '' ? repositoriesPrefix : `${repositoriesPrefix}/${parent}`)
  } catch (error) {
    unlisted(parent, error)
    return []
  }
}

function rethrow(_folder: string, error: unknown): void {
  throw error
}
