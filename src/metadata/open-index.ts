import type { Logger } from 'pino'
import type { StorageDriver } from '../storage/driver.js'
import { type RebuildReport, rebuild } from './rebuild.js'
import { type OpenedIndex, SqlIndex } from './sql-index.js'

/** Opens the index, and says in the log what was wrong with it. The caller closes it. */
export function openIndex({ indexFile, log, now }: { indexFile: string; log: Logger; now: () => number }): OpenedIndex {
  const opened = SqlIndex.open({ file: indexFile, now })
  const { trouble } = opened
  const reason = (trouble?.error as Error | undefined)?.message
  if (trouble?.inMemory)
    log.warn({ reason }, 'index.db cannot be written: until the next start recency is kept in memory')
  else if (trouble) log.warn({ reason }, 'index.db was damaged and is made anew from the stored files')
  return opened
}

export interface ReconcileDeps {
  driver: StorageDriver
  index: SqlIndex
  isLocal: (name: string) => boolean
  log: Logger
}

/** Brings the index in line with the stored files, and says in the log what was found. */
export async function reconcile({ log, ...deps }: ReconcileDeps): Promise<void> {
  const found: RebuildReport = await rebuild(deps)
  if (found.added > 0) log.info(found, 'index brought in line with the stored files')
}
