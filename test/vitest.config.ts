import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** All that needs nothing but Node. Real clients (`test/clients`), faults (`test/faults`), measurements (`test/bench`) and the
 * official suite (`test/conformance`) have runs of their own. */
export default defineConfig({
  test: {
    root: join(import.meta.dirname, '..'),
    include: ['test/**/*.test.ts'],
    exclude: ['test/clients/**', 'test/faults/**', 'test/bench/**', 'test/conformance/**'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // A condition is waited for: how long that takes is the machine's.
    expect: { poll: { timeout: 10_000 } },
  },
})
