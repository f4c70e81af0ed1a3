import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { adminUrl } from '../../src/cli/admin-url.js'
import { gc } from '../../src/cli/gc.js'
import { digestOf } from '../../src/oci/digest.js'
import { folderWith } from '../config/files.js'
import { type Mirror, registry, startMirror } from '../helpers/mirror.js'
import { pusher } from '../helpers/push.js'
import { closeAll } from '../helpers/upstream.js'

const STRAY = Buffer.from('a blob that no manifest names')
const DAY = 86_400_000

afterEach(closeAll)

async function withStray(): Promise<Mirror> {
  let ahead = 0
  const mirror = await startMirror({
    registries: { 'docker.io': registry([{ name: 'hub', url: 'http://127.0.0.1:9', role: 'origin' }]) },
    now: () => Date.now() + ahead,
  })
  await pusher(mirror.url).blob('local/app', STRAY)
  ahead = DAY
  return mirror
}

async function run(server: string, options: { dryRun?: boolean; json?: boolean } = {}) {
  const out: string[] = []
  const err: string[] = []
  const code = await gc({
    ...{ dryRun: false, json: false, server, file: undefined, env: {}, cwd: folderWith({}) },
    ...options,
    out: (line) => out.push(line),
    err: (line) => err.push(line),
  })
  return { code, out, err }
}

test('says what goes from where, why and how many bytes; a dry run the same in other words', async () => {
  const { url } = await withStray()

  const dry = await run(url, { dryRun: true })
  const real = await run(url)
  const again = await run(url)

  expect(real).toMatchObject({ code: 0, err: [] })
  expect(real.out.slice(0, -1)).toEqual([
    'local/app',
    `  blob           29 B  ${digestOf(STRAY)}  no manifest names it`,
    'on disk',
    `  content        29 B  ${digestOf(STRAY)}  no repository links to it`,
  ])
  expect(real.out.at(-1)).toMatch(/^1 links to blobs, 1 files; 29 B freed, in \d/)
  expect(dry.out.slice(0, -1)).toEqual(real.out.slice(0, -1))
  expect(dry.out.at(-1)).toContain('29 B would be freed')
  expect(again.out).toEqual([expect.stringMatching(/^nothing to collect; 0 B freed/)])
})

test('--json prints a value a line, the report last', async () => {
  const { url } = await withStray()

  const { code, out } = await run(url, { dryRun: true, json: true })

  expect(code).toBe(0)
  expect(out.map((line) => Object.keys(JSON.parse(line)))).toEqual([['found'], ['found'], ['report']])
})

test('a server that is not there, refuses, or is another one is told in one line', async () => {
  const other = createServer((_request, response) => response.writeHead(404).end('<html>')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo

  const results = [await run('http://127.0.0.1:1'), await run(`http://127.0.0.1:${port}`), await run('localhost')]
  other.close()

  expect(results.map(({ code, err }) => [code, err.length])).toEqual([
    [1, 1],
    [1, 1],
    [2, 1],
  ])
  expect(results[0]!.err[0]).toContain('is the server running there?')
  expect(results[1]!.err[0]).toContain('the server refuses (404)')
})

test.each([
  ['0.0.0.0', 'http://127.0.0.1:5000'],
  ['::', 'http://[::1]:5000'],
  ['fd00::1', 'http://[fd00::1]:5000'],
  ['registry.lan', 'http://registry.lan:5000'],
])('a server that listens on %s is asked at %s', (host, url) => {
  expect(adminUrl({ server: { host, port: 5000 } })).toBe(url)
})
