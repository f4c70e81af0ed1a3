import { defineConfig } from 'vitest/config'

/** Started by run.ts, inside the namespaces that it makes. Most of the time is spent waiting, so some files run at once. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts'],
    globalSetup: ['test/faults/setup.ts'],
    pool: 'forks',
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A condition is waited for: how long that takes is the machine's.
    expect: { poll: { timeout: 20_000 } },
    disableConsoleIntercept: true,
  },
})
