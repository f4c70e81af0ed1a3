import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hash } from '@node-rs/bcrypt'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../helpers/local-server.js'
import { freePort, startCommand } from '../helpers/server-process.js'
import { runSuite, type Verdict } from './suite.js'

const USER = { name: 'alice', password: 'a password for the suite' }

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

const RUNS = [
  { name: 'open to this machine', more: '', env: {} },
  {
    name: 'for a user who signs in',
    more: 'auth: { htpasswd: users.htpasswd, anonymous: [] }',
    env: { OCI_USERNAME: USER.name, OCI_PASSWORD: USER.password },
  },
]

async function verdicts({ more, env }: (typeof RUNS)[number]): Promise<Verdict[]> {
  const folder = await temporaryFolder()
  const port = await freePort()
  await writeFile(join(folder.path, 'users.htpasswd'), `${USER.name}:${await hash(USER.password, 4)}\n`)
  await writeFile(join(folder.path, 'mirrors.yaml'), CONFIGURATION(port) + more)
  const server = startCommand(['serve'], { cwd: folder.path })
  try {
    await server.listening()
    return await runSuite({ registry: `127.0.0.1:${port}`, folder: folder.path, env })
  } finally {
    await server.end()
    await folder.remove()
  }
}

for (const run of RUNS) {
  const found = await verdicts(run)

  describe(`distribution-spec/conformance, ${run.name}`, () => {
    test('the suite has run to its end', () => {
      expect(found.length).toBeGreaterThan(500)
    })

    for (const { name, status, text } of found) {
      test(name, ({ skip }) => {
        if (status === 'skipped') skip(text)
        if (status !== 'passed') throw new Error(text)
      })
    }
  })
}
