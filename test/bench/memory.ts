import { join } from 'node:path'
import { ALL, startCached } from './cached-servers.js'
import { Content, MIB } from './content.js'
import type { GetJob } from './load.js'
import { forgetPeak, peakMiB } from './process-tree.js'
import type { Stage } from './stage.js'

/** The most memory that each takes, of all its processes, while many download what is cached. */
export const memory: Stage = {
  group: 'memory',
  share: 25,
  rounds: { full: 2, quick: 1 },
  async open(bench) {
    const folder = join(bench.folder, 'memory')
    const files = new Content(join(folder, 'content'))
    const items = await files.blobs(2, 64 * MIB)
    const { servers, stop } = await startCached({ bench, folder, files, items })
    const peak = (row: string, job: GetJob) => ({
      rows: [row],
      servers: ALL,
      async measure(name: (typeof ALL)[number]) {
        const { port, pid } = servers.get(name)!
        await forgetPeak(pid)
        await bench.load.get(port, job)
        return { [row]: await peakMiB(pid) }
      },
    })
    const cases = [
      peak('memory-64', { targets: items, connections: 64, threads: 2, requests: 64 }),
      peak('memory-200', { targets: items, connections: 200, bytesPerSecond: MIB, seconds: bench.quick ? 2 : 4 }),
    ]
    return { cases, close: stop }
  },
}
