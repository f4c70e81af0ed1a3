import { join } from 'node:path'
import { runIsolated } from '../helpers/namespaces.js'
import { benchOptions } from './options.js'
import { benchPrograms, NEEDED } from './programs.js'

/**
 * `npm run bench`, as root: looks at the arguments, builds what the Go client builds, and measures in namespaces of its own
 * (`inside.ts`).
 */
const args = process.argv.slice(2)
benchOptions(args)
await runIsolated({
  name: 'bench',
  command: ['--import', 'tsx', join(import.meta.dirname, 'inside.ts'), ...args],
  needed: NEEDED,
  environment: benchPrograms,
})
