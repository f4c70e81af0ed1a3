import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { EventLoopLoad } from '../../src/lib/event-loop-load.js'

/** Keeps the event loop from its rest. */
function work(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

test('an event loop that did nothing but work was busy all the time, one that waited was not', async () => {
  const load = new EventLoopLoad()
  // The event loop must have waited before anything is counted.
  await sleep(1)
  load.lately()

  work(30)
  expect(load.lately()).toBeGreaterThan(0.99)
  await sleep(300)
  expect(load.lately()).toBeLessThan(0.9)
})
