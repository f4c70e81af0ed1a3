import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../helpers/local-server.js'
import { freePort, startCommand } from '../helpers/server-process.js'
import { runSuite, type Verdict } from './suite.js'

/** All that is optional is on: the suite looks for what it is told, and notes as skipped what it does not find. */
const CONFIGURATION = (port: number) => `
server:
  listen: 127.0.0.1:${port}
storage:
  path: ./data
local:
  sparse: all
  uploads:
    chunkMinLength: 1KiB
`

async function verdicts(): Promise<Verdict[]> {
  const folder = await temporaryFolder()
  const port = await freePort()
  await writeFile(join(folder.path, 'mirrors.yaml'), CONFIGURATION(port))
  const server = startCommand(['serve'], { cwd: folder.path })
  try {
    await server.listening()
    return await runSuite({ registry: `127.0.0.1:${port}`, folder: folder.path })
  } finally {
    await server.end()
    await folder.remove()
  }
}

const found = await verdicts()

test('the suite has run to its end', () => {
  expect(found.length).toBeGreaterThan(500)
})

describe('distribution-spec/conformance', () => {
  for (const { name, status, text } of found) {
    test(name, ({ skip }) => {
      if (status === 'skipped') skip(text)
      if (status !== 'passed') throw new Error(text)
    })
  }
})
