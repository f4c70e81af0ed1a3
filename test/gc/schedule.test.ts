import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EventBus } from '../../src/events.js'
import { GarbageCollection } from '../../src/gc/garbage-collection.js'
import { GcSchedule } from '../../src/gc/schedule.js'
import { digestOf } from '../../src/oci/digest.js'
import { ALONE } from '../helpers/collector.js'
import { openStorage, temporaryFolder } from '../helpers/local-server.js'

const HOUR = 3_600_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let storage: Awaited<ReturnType<typeof openStorage>>
let clock: number
let everyMs: number

beforeEach(async () => {
  clock = 1_000_000
  everyMs = HOUR
  folder = await temporaryFolder()
  storage = await openStorage(folder.path, () => clock)
})
afterEach(async () => {
  storage.index.close()
  await folder.remove()
})

function build(trusted = Promise.resolve()) {
  const events = new EventBus({ onListenerError: () => {} })
  const shared = { log: pino({ level: 'silent' }), now: () => clock }
  const { collector } = new GarbageCollection({
    ...storage,
    ...shared,
    events,
    trusted,
    changes: ALONE,
    isLocal: () => true,
    policy: () => ({ everyMs, graceMs: HOUR, retention: [] }),
  })
  return {
    collector,
    schedule: new GcSchedule({ ...shared, collector, values: storage.index, everyMs: () => everyMs }),
  }
}

test('the first run is when the time is over, the next when it is over again, a restart in between or not', async () => {
  const { collector, schedule } = build()
  const started: (number | undefined)[] = []
  for (const at of [0, 0.5, 1.1, 1.5]) {
    clock = 1_000_000 + at * HOUR
    await schedule.look()
    started.push(collector.last?.startedAt)
  }
  const again = build()
  for (const at of [2, 2.2]) {
    clock = 1_000_000 + at * HOUR
    await again.schedule.look()
    started.push(again.collector.last?.startedAt)
  }

  const [first, second] = [1_000_000 + 1.1 * HOUR, 1_000_000 + 2.2 * HOUR]
  expect(started).toEqual([undefined, undefined, first, first, first, second])
})

test('0s: never', async () => {
  const { collector, schedule } = build()
  everyMs = 0
  await schedule.look()
  clock += 1000 * HOUR

  await schedule.look()

  expect(collector.last).toBeUndefined()
})

test('a last run that lies ahead, by a clock that was wrong then, is none', async () => {
  const { collector, schedule } = build()
  clock += 1000 * HOUR
  await collector.collect({ dryRun: false })
  clock -= 999 * HOUR

  await schedule.look()

  expect(collector.last?.startedAt).toBe(clock)
})

test('one that was asked for counts, a dry run does not', async () => {
  const { collector, schedule } = build()
  await schedule.look()
  clock += HOUR
  await collector.collect({ dryRun: true })
  expect(collector.last).toBeUndefined()
  await collector.collect({ dryRun: false })
  const at = clock
  clock += HOUR / 2

  await schedule.look()

  expect(collector.last?.startedAt).toBe(at)
})

test('one that is asked for before the index may be trusted looks at nothing until it may', async () => {
  let trust = () => {}
  const { collector } = build(new Promise((resolve) => (trust = resolve)))
  const content = Buffer.from('a blob')
  await storage.store.put(content, { digest: digestOf(content), manifest: false }, 'pushed')
  clock = Date.now() + 2 * HOUR
  const running = collector.collect({ dryRun: false })
  // Long enough for it to have come to its end.
  for (let n = 0; n < 20; n++) await storage.driver.put('some/key', '')
  expect(storage.index.find(digestOf(content))).toBeDefined()

  trust()

  expect(await running).toMatchObject({ found: { content: 1 } })
})

test('the end of the server ends the wait for an index that may be trusted', async () => {
  const { collector } = build(Promise.reject(new Error('the server stops')))

  expect(await collector.collect({ dryRun: false })).toMatchObject({ failure: 'the server was stopped' })
})

test('while one runs another is refused; stopping ends it, which does not count, and none begins after', async () => {
  const content = Buffer.from('a blob')
  await storage.store.put(content, { digest: digestOf(content), manifest: false }, 'pushed')
  const { collector } = build()
  const running = collector.collect({ dryRun: false })

  await expect(collector.collect({ dryRun: true })).rejects.toMatchObject({ name: 'GcBusyError' })
  await collector.stop()

  expect(await running).toMatchObject({ failure: 'the server was stopped' })
  expect(collector.last).toBeUndefined()
  await expect(collector.collect({ dryRun: true })).rejects.toMatchObject({ name: 'StoppedError' })
})
