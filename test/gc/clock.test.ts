import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventBus } from '../../src/events.js'
import { Collector } from '../../src/gc/collector.js'
import { digestOf } from '../../src/oci/digest.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../helpers/local-server.js'
import { pushContents, pusher } from '../helpers/push.js'

const HOUR = 3_600_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let ahead: number
const now = () => Date.now() + ahead

beforeEach(async () => {
  ahead = 0
  folder = await temporaryFolder()
  server = await startLocalServer(folder.path, { now })
})
afterEach(async () => {
  await server.kill()
  await folder.remove()
})

test('what is pushed or found during a run stays, though the clock is set back by more than the grace period', async () => {
  const push = pusher(server.url)
  const status = async (path: string, method = 'GET') => (await push.send(method, `/v2/local/app/${path}`)).status
  const layers = ['a layer', 'another']
  const contents = layers.map((layer) => Buffer.from(layer))
  // The digests decide which of them the run comes upon first: that one is not in the image.
  for (const content of [...contents, ...Array.from({ length: 20 }, (_, at) => Buffer.from(`stray ${at}`))]) {
    await push.blob('local/app', content)
  }
  ahead = 2 * HOUR
  let gone: string | undefined
  let pushed: { head: number; put: number } | undefined
  const collector = new Collector({
    ...server,
    events: new EventBus({ onListenerError: () => {} }),
    changes: server.registry.changes,
    isLocal: () => true,
    policy: () => ({ graceMs: HOUR, retention: [] }),
    log: pino({ level: 'silent' }),
    now,
    trusted: Promise.resolve(),
  })

  await collector.collect({
    dryRun: false,
    onFound: async (found) => {
      if (gone !== undefined || found.kind !== 'blob') return
      gone = found.digest
      ahead = 0
      const head = await status(`blobs/${digestOf(contents.find((content) => digestOf(content) !== gone)!)}`, 'HEAD')
      const manifest = await pushContents(push, 'local/app', layers)
      pushed = { head, put: (await push.manifest('local/app', 'v1', manifest)).status }
    },
  })

  expect(pushed).toEqual({ head: 200, put: 201 })
  expect(await status('manifests/v1')).toBe(200)
  for (const content of contents) expect(await status(`blobs/${digestOf(content)}`)).toBe(200)
})
