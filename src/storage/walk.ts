import type { Digest } from '../oci/digest.js'
import type { StorageDriver } from './driver.js'
import { blobsPrefix, digestFromParts } from './layout.js'

/** Every blob that has a file, in the order of their digests, algorithm by algorithm. Strangers' files are passed over. */
export async function* storedDigests(driver: StorageDriver): AsyncGenerator<Digest> {
  for (const algorithm of await sortedFolders(driver, blobsPrefix)) {
    for (const fold of await sortedFolders(driver, `${blobsPrefix}/${algorithm}`)) {
      // A 256th of all of them: listed whole, in the order in which the index takes them in fastest.
      for (const hex of await driver.list(`${blobsPrefix}/${algorithm}/${fold}`)) {
        const digest = digestFromParts(algorithm, hex)
        if (digest) yield digest
      }
    }
  }
}

/** The digests that are linked below `prefix` as `<algorithm>/<hex>`, each with its key, in no order. */
export async function* linksIn(driver: StorageDriver, prefix: string): AsyncGenerator<{ digest: Digest; key: string }> {
  for await (const algorithm of folders(driver, prefix)) {
    for await (const hex of driver.names(`${prefix}/${algorithm}`)) {
      const digest = digestFromParts(algorithm, hex)
      if (digest) yield { digest, key: `${prefix}/${algorithm}/${hex}` }
    }
  }
}

/** The digests that have a folder below `prefix`, `<algorithm>/<hex>/`, each with that prefix, in no order. */
export async function* foldersIn(
  driver: StorageDriver,
  prefix: string,
): AsyncGenerator<{ digest: Digest; prefix: string }> {
  for await (const algorithm of folders(driver, prefix)) {
    for await (const hex of folders(driver, `${prefix}/${algorithm}`)) {
      const digest = digestFromParts(algorithm, hex)
      if (digest) yield { digest, prefix: `${prefix}/${algorithm}/${hex}` }
    }
  }
}

/**
 * Lets go of every folder below `prefix` that has no key below it.
 *
 * @param step called between two folders
 * @returns whether there is a key
 */
export async function tidyBelow(driver: StorageDriver, prefix: string, step: () => Promise<void>): Promise<boolean> {
  const below: string[] = []
  let found = false
  for await (const name of driver.names(prefix)) {
    if (name.endsWith('/')) below.push(`${prefix}/${name.slice(0, -1)}`)
    else found = true
    // Folders of keys hold nothing else, and may be full.
    if (found && below.length === 0) return true
  }
  for (const folder of below) {
    await step()
    if (await tidyBelow(driver, folder, step)) found = true
  }
  if (!found) await driver.tidy(prefix)
  return found
}

/** The names of the folders directly below `prefix`, where they are few. */
async function sortedFolders(driver: StorageDriver, prefix: string): Promise<string[]> {
  return (await driver.list(prefix)).filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1))
}

/** The names of the folders directly below `prefix`. */
async function* folders(driver: StorageDriver, prefix: string): AsyncGenerator<string> {
  for await (const name of driver.names(prefix)) if (name.endsWith('/')) yield name.slice(0, -1)
}
