import { pino } from 'pino'
import { EventBus } from '../../src/events.js'
import { Collector, type CollectorDeps } from '../../src/gc/collector.js'

/** A collector that takes every repository for one that is pushed to; a run may begin at once. */
export function makeCollector(
  parts: Pick<CollectorDeps, 'driver' | 'store' | 'index' | 'changes' | 'policy' | 'now'>,
): Collector {
  return new Collector({
    ...parts,
    events: new EventBus({ onListenerError: () => {} }),
    isLocal: () => true,
    trusted: Promise.resolve(),
    log: pino({ level: 'silent' }),
  })
}

/** Changes of a repository that nobody else makes. */
export const ALONE: CollectorDeps['changes'] = {
  alone: (_repository, work) => work(() => {}),
  still: (_repository, work) => work(),
  isUploading: () => false,
}
