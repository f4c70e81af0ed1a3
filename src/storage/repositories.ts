import type { StorageDriver } from './driver.js'
import { attachedRoot, repositoriesPrefix } from './layout.js'

/**
 * Every repository that has link files, at any depth, by its name on disk: pushed to, read through, and, below
 * `_attached/`, what was pushed to one that is read through. `isPushedTo` (layout.ts) tells them apart.
 *
 * @param parent only those below it
 */
export async function* repositoriesOnDisk(driver: StorageDriver, parent = ''): AsyncGenerator<string> {
  const entries = await driver.list(parent === '' ? repositoriesPrefix : `${repositoriesPrefix}/${parent}`)
  if (parent !== '' && entries.some((entry) => entry.startsWith('_'))) yield parent
  for (const entry of entries) {
    const attached = parent === '' && entry === `${attachedRoot}/`
    if (!entry.endsWith('/') || (entry.startsWith('_') && !attached)) continue
    const name = entry.slice(0, -1)
    yield* repositoriesOnDisk(driver, parent === '' ? name : `${parent}/${name}`)
  }
}
