import { join } from 'node:path'
import { runIsolated } from '../helpers/namespaces.js'
import { benchPrograms, NEEDED } from './programs.js'

/** `npm run profile -- ROW`, as root: a CPU profile of the built server while those rows are measured (`profile-inside.ts`). */
await runIsolated({
  name: 'profile',
  command: ['--import', 'tsx', join(import.meta.dirname, 'profile-inside.ts'), ...process.argv.slice(2)],
  needed: NEEDED,
  environment: benchPrograms,
})
