import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { run } from '../helpers/process.js'
import { digestOfBody, pushContents, pusher } from '../helpers/push.js'
import { freePort, startCommand } from '../helpers/server-process.js'
import { closeAll } from '../helpers/upstream.js'

const MIB = 1024 * 1024

afterEach(closeAll)

test('on a nearly full disk a push is refused while links can still be written, and nothing is lost by it', async () => {
  const folder = await mkdtemp(join(process.env.ENTREPOT_RUN_ROOT ?? tmpdir(), 'nearly-full-'))
  const disk = join(folder, 'disk')
  await mkdir(disk)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk])
  const port = await freePort()
  const local = { minFree: '8MiB' }
  const settings = { server: { listen: `127.0.0.1:${port}` }, storage: { path: './disk/data' }, local }
  await writeFile(join(folder, 'mirrors.yaml'), JSON.stringify(settings))
  const start = async () => {
    const server = startCommand(['serve'], { cwd: folder })
    await server.listening()
    return server
  }
  const server = await start()
  const push = pusher(`http://127.0.0.1:${port}`)
  const freeMib = async () => {
    const { bavail, bsize } = await statfs(disk)
    return (bavail * bsize) / MIB
  }
  const manifest = await pushContents(push, 'local/app', ['one'])
  const held = await push.begin('local/app')
  const content = randomBytes(40 * MIB)
  await push.patch(held, content)

  const large = await push.begin('local/app')
  // The disk has room for it, but not beside what is kept free.
  const refused = await push.patch(large, new Blob([randomBytes(18 * MIB)]).stream())
  const between = await freeMib()
  const tagged = await push.manifest('local/app', 'v1', manifest)
  const pulled = await push.send('GET', '/v2/local/app/manifests/v1')
  const finished = await push.finish(held, digestOf(content))

  expect(refused.status).toBe(507)
  expect(await refused.json()).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] })
  expect(between).toBeGreaterThan(8)
  expect([tagged.status, await digestOfBody(pulled), finished.status]).toEqual([201, digestOf(manifest), 201])
  expect((await push.send('POST', '/v2/local/app/blobs/uploads/')).status).toBe(202)
  expect(server.stdout).not.toMatch(/"level":"?(error|50)/)
  await server.end()
  await start()
  const blob = await push.send('GET', `/v2/local/app/blobs/${digestOf(content)}`)
  expect(await digestOfBody(blob)).toBe(digestOf(content))
})
