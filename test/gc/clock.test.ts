import { afterEach, beforeEach, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { blobLinksPrefix } from '../../src/storage/layout.js'
import { makeCollector } from '../helpers/collector.js'
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
  for (const content of [...contents, Buffer.from('stray')]) await push.blob('local/app', content)
  ahead = 2 * HOUR
  let pushed: { head: number; put: number } | undefined
  const { driver, store, index, registry } = server
  const { names } = driver
  // All of them are garbage when their links have been listed, and none is gone.
  driver.names = async function* (prefix) {
    yield* names.call(driver, prefix)
    if (!prefix.startsWith(`${blobLinksPrefix('local/app')}/`)) return
    ahead = 0
    const head = await status(`blobs/${digestOf(contents[0]!)}`, 'HEAD')
    const manifest = await pushContents(push, 'local/app', layers)
    pushed = { head, put: (await push.manifest('local/app', 'v1', manifest)).status }
  }
  const policy = () => ({ graceMs: HOUR, retention: [] })

  const report = await makeCollector({ driver, store, index, changes: registry.changes, policy, now }).collect({
    dryRun: false,
  })

  expect([pushed, report.found]).toMatchObject([{ head: 200, put: 201 }, { blob: 1 }])
  expect(await status('manifests/v1')).toBe(200)
  for (const content of contents) expect(await status(`blobs/${digestOf(content)}`)).toBe(200)
})
