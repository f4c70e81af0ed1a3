import type { TestProject } from 'vitest/node'
import { buildWorld } from './world.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The folder of this run; each test file makes its own folder in it. */
    root: string
  }
}

/** Once a run. */
export default async function setup(project: TestProject): Promise<void> {
  const { ENTREPOT_RUN_ROOT: root } = process.env
  if (!root) throw new Error('start these tests by npm run test:faults')
  project.provide('root', root)
  await buildWorld()
}
