import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { OciError } from '../../src/oci/errors.js'
import { MemorySource } from '../helpers/memory-source.js'
import { type Served, serve } from './serve.js'

let source: MemorySource
let served: Served
beforeEach(async () => {
  source = new MemorySource({ outcome: 'hit', source: 'hub' })
  served = await serve({ source })
})
afterEach(() => served.close())

const get = async (path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(served.url + path, { headers: { 'user-agent': 'docker/27', ...headers } })
  await response.arrayBuffer()
  return response
}
const raw = (target: string) => served.raw(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)

describe('one line a request', () => {
  test('a blob: who, what, from where, how much', async () => {
    const digest = source.addBlob(Buffer.from('0123456789'))

    const response = await get(`/v2/library/app/blobs/${digest}`)

    await expect.poll(() => served.lines.length).toBe(1)
    expect(served.lines[0]).toMatchObject({
      level: 30,
      msg: 'request',
      requestId: response.headers.get('x-request-id'),
      client: '127.0.0.1',
      method: 'GET',
      path: `/v2/library/app/blobs/${digest}`,
      registry: 'docker.io',
      repository: 'library/app',
      reference: digest,
      status: 200,
      bytes: 10,
      durationMs: expect.any(Number),
      outcome: 'hit',
      upstream: 'hub',
      userAgent: 'docker/27',
    })
    expect(served.lines[0]).not.toHaveProperty('aborted')
  })

  test.each([
    ['GET', '/v2/'],
    ['GET', '/nothing'],
    ['HEAD', '/v2/'],
  ])('%s %s: the length of an answer that is no content', async (method, path) => {
    const response = await fetch(served.url + path, { method })
    const { byteLength } = await response.arrayBuffer()

    await expect.poll(() => served.lines.length).toBe(1)
    expect(served.lines[0]).toMatchObject({ bytes: byteLength })
  })

  test.each([
    ['a range', '/v2/library/app/blobs/sha256:a'],
    ['a bad escape', '/v2/%zz'],
    ['nothing there', '/nothing'],
    ['the ping', '/v2/'],
    ['a whole URL', 'http://user:secret@mirror.example/v2/library/app/tags/list'],
    ['a query', '/v2/library/app/tags/list?n=5&signature=secret'],
  ])('%s, without query or credentials, with the id that the client sees', async (_case, target) => {
    const text = await raw(target)

    await expect.poll(() => served.lines.length).toBe(1)
    expect(JSON.stringify(served.lines)).not.toContain('secret')
    expect(text).toContain(`x-request-id: ${served.lines[0]!.requestId}`)
  })

  test('no header that proves who somebody is', async () => {
    await get('/v2/', { authorization: 'Bearer secret-token', cookie: 'session=secret', referer: 'http://a/?secret' })

    await expect.poll(() => served.lines.length).toBe(1)
    expect(JSON.stringify(served.lines)).not.toContain('secret')
  })

  test('each of many on one connection', async () => {
    for (let at = 0; at < 5; at++) await get('/v2/')

    await expect.poll(() => served.lines.length).toBe(5)
    expect(new Set(served.lines.map(({ requestId }) => requestId)).size).toBe(5)
  })

  test('a failure is told with what caused it, the client hears the first part only', async () => {
    source.getManifest = async () => {
      throw new OciError('UNAVAILABLE', 'no upstream can serve this', { cause: new Error('hub: connect timeout') })
    }

    const response = await fetch(`${served.url}/v2/library/app/manifests/latest`)

    expect(await response.text()).not.toContain('connect timeout')
    await expect
      .poll(() => served.lines)
      .toMatchObject([{ level: 40, status: 503, reason: 'no upstream can serve this: hub: connect timeout' }])
  })

  test('a failure of ours is an error with its stack, and tells the client nothing', async () => {
    source.getManifest = async () => {
      throw new TypeError('undefined is not a function')
    }

    const response = await fetch(`${served.url}/v2/library/app/manifests/latest`)

    expect([response.status, await response.json()]).toEqual([
      500,
      { errors: [{ code: 'UNKNOWN', message: 'internal error' }] },
    ])
    await expect
      .poll(() => served.lines)
      .toMatchObject([{ level: 50, err: { type: 'TypeError', stack: expect.any(String) } }])
  })

  test('a client that left before there was an answer is 499, not 200', async () => {
    let asked = false
    let answer!: () => void
    source.getManifest = async () => {
      asked = true
      await new Promise<void>((resolve) => {
        answer = resolve
      })
      throw new OciError('MANIFEST_UNKNOWN', 'not here')
    }
    const socket = await served.open()
    socket.write('GET /v2/library/app/manifests/latest HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => asked).toBe(true)

    socket.destroy()

    await expect.poll(() => served.lines).toMatchObject([{ status: 499, aborted: true, client: '127.0.0.1' }])
    answer()
    await get('/v2/')
    await expect.poll(() => served.lines.length).toBe(2)
  })
})

test('with access: false only failures have a line', async () => {
  const quiet = await serve({ source, access: false })
  try {
    await fetch(`${quiet.url}/v2/`)
    source.statBlob = async () => {
      throw new Error('broken')
    }
    await fetch(`${quiet.url}/v2/library/app/blobs/sha256:${'0'.repeat(64)}`, { method: 'HEAD' })

    await expect.poll(() => quiet.lines).toMatchObject([{ level: 50, msg: 'request failed' }])
  } finally {
    await quiet.close()
  }
})

describe('events', () => {
  test('a GET of content is told with what was sent of it', async () => {
    const manifest = source.addManifest({ schemaVersion: 2 }, 'latest')
    const blob = source.addBlob(Buffer.from('0123456789'))

    await get('/v2/library/app/manifests/latest')
    await get(`/v2/library/app/blobs/${blob}`, { range: 'bytes=2-4' })
    await get(`/v2/library/app/manifests/${manifest}`, { 'if-none-match': `"${manifest}"` })

    const served0 = { registry: 'docker.io', repository: 'library/app', outcome: 'hit', source: 'hub' }
    await expect
      .poll(() => served.told)
      .toEqual([
        { name: 'content.served', event: { ...served0, content: 'manifest', digest: manifest, bytes: 19 } },
        { name: 'content.served', event: { ...served0, content: 'blob', digest: blob, bytes: 3 } },
        { name: 'content.served', event: { ...served0, content: 'manifest', digest: manifest, bytes: 0 } },
      ])
  })

  test('one that fails is told with its status', async () => {
    await get('/v2/library/app/manifests/none')
    await get(`/v2/library/app/blobs/${source.addBlob(Buffer.from('a'))}`, { range: 'bytes=5-' })

    const failed = { registry: 'docker.io', repository: 'library/app', bytes: 0 }
    await expect
      .poll(() => served.told)
      .toEqual([
        { name: 'content.failed', event: { ...failed, content: 'manifest', status: 404 } },
        { name: 'content.failed', event: { ...failed, content: 'blob', status: 416 } },
      ])
  })

  test('HEAD, lists and the ping are not', async () => {
    const digest = source.addBlob(Buffer.from('a'))
    await fetch(`${served.url}/v2/library/app/blobs/${digest}`, { method: 'HEAD' })
    await get('/v2/library/app/tags/list')
    await get('/v2/')

    await expect.poll(() => served.lines.length).toBe(3)
    expect(served.told).toEqual([])
  })
})
