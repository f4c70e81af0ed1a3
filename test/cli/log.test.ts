import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { freePort } from '../helpers/server-process.js'

const MAIN = join(import.meta.dirname, '../../dist/main.js')

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'log-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

it('answers, and stops in order, while the log cannot be written', async () => {
  const port = await freePort()
  await writeFile(join(folder, 'mirrors.yaml'), JSON.stringify({ server: { listen: `127.0.0.1:${port}` } }))
  const full = openSync('/dev/full', 'w')
  const server = spawn(process.execPath, [MAIN, 'serve'], { cwd: folder, stdio: ['ignore', full, 'pipe'] })
  closeSync(full)
  try {
    // What is said to a person when it listens goes to standard error.
    await once(server.stderr!, 'data')
    for (let n = 0; n < 5; n++) {
      const { statusCode, body } = await request(`http://127.0.0.1:${port}/v2/`)
      expect(statusCode).toBe(200)
      await body.dump()
    }
    server.kill('SIGTERM')
    expect((await once(server, 'exit'))[0]).toBe(0)
  } finally {
    server.kill('SIGKILL')
  }
})
