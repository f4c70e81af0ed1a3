import type { Logger } from 'pino'
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
