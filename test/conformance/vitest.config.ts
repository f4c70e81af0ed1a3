import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** The suite runs while the file is loaded, and what it found becomes the tests. */
export default defineConfig({
  test: {
    root: join(import.meta.dirname, '../..'),
    include: ['test/conformance/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    hideSkippedTests: false,
  },
})
