import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WrongBytesError } from '../../../src/oci/content.js'
import { digestOf } from '../../../src/oci/digest.js'
import { MemorySource } from '../../helpers/memory-source.js'
import { readToClose, type Served, serve } from '../serve.js'

const SIZE = 300_000
const bytes = randomBytes(SIZE)

let source: MemorySource
let served: Served
let path: string
let digest: string

beforeEach(async () => {
  source = new MemorySource({ outcome: 'miss', source: 'hub' })
  served = await serve({ source })
  digest = source.addBlob(bytes)
  path = `/v2/library/app/blobs/${digest}`
})
afterEach(() => served.close())

const get = (headers: Record<string, string> = {}, method = 'GET') => fetch(served.url + path, { headers, method })
const bodyOf = async (response: Response) => Buffer.from(await response.arrayBuffer())

describe('end-2: GET /v2/<name>/blobs/<digest>', () => {
  test('the whole, with all that describes it', async () => {
    const response = await get()

    expect(response.status).toBe(200)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-length': String(SIZE),
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      etag: `"${digest}"`,
      'accept-ranges': 'bytes',
      'cache-control': 'max-age=31536000, immutable',
      'x-cache': 'miss',
      'x-cache-source': 'hub',
      'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    expect(digestOf(await bodyOf(response))).toBe(digest)
  })

  test('HEAD has the headers of GET and opens nothing', async () => {
    const varying = new Set(['date', 'x-request-id', 'connection', 'keep-alive'])
    const headersOf = (response: Response) => [...response.headers].filter(([name]) => !varying.has(name)).sort()
    const whole = await get()
    await bodyOf(whole)

    const head = await get({}, 'HEAD')

    expect(headersOf(head)).toEqual(headersOf(whole))
    expect(source.opened).toBe(1)
  })

  test('an empty blob', async () => {
    path = `/v2/library/app/blobs/${source.addBlob(Buffer.alloc(0))}`

    const response = await get()

    expect([response.status, response.headers.get('content-length'), (await bodyOf(response)).length]).toEqual([
      200,
      '0',
      0,
    ])
    expect((await get({ range: 'bytes=0-' })).status).toBe(416)
  })

  test('a blob of unknown length comes whole, whatever range is asked for', async () => {
    source.sizeless = true

    const response = await get({ range: 'bytes=5-9' })

    expect([response.status, response.headers.get('content-length')]).toEqual([200, null])
    expect(digestOf(await bodyOf(response))).toBe(digest)
  })

  test.each([
    ['from a reader', false],
    ['from memory', true],
  ])('requests one after the other on one connection, %s', async (_case, hot) => {
    source.hot = hot
    const socket = await served.open()
    const line = (target: string, last: boolean) =>
      `GET ${target} HTTP/1.1\r\nHost: a\r\n${last ? 'Connection: close\r\n' : ''}\r\n`

    socket.write(line(path, false) + line(path, true))
    const text = await readToClose(socket)

    const first = text.indexOf('\r\n\r\n') + 4
    expect(digestOf(Buffer.from(text.slice(first, first + SIZE), 'latin1'))).toBe(digest)
    expect(digestOf(Buffer.from(text.slice(-SIZE), 'latin1'))).toBe(digest)
  })

  test('every reader is closed once', async () => {
    await Promise.all([
      get().then(bodyOf),
      get({ range: 'bytes=1-2' }).then(bodyOf),
      get({ range: 'bytes=999999-' }).then(bodyOf),
    ])
    await bodyOf(await get({ 'if-none-match': `"${digest}"` }))

    await expect.poll(() => [source.opened, source.closed]).toEqual([4, 4])
  })
})

describe.each([
  ['a reader', false],
  ['memory', true],
])('Range, from %s', (_case, hot) => {
  beforeEach(() => {
    source.hot = hot
  })

  test.each([
    ['the first byte', 'bytes=0-0', 0, 0],
    ['some in the middle', 'bytes=100000-199999', 100_000, 199_999],
    ['from a position on', 'bytes=299990-', 299_990, 299_999],
    ['a suffix', 'bytes=-10', 299_990, 299_999],
    ['a suffix longer than the blob', 'bytes=-999999', 0, 299_999],
    ['an end beyond the blob', 'bytes=299999-999999', 299_999, 299_999],
    ['only one of two that can be satisfied', 'bytes=900000-900001,5-6', 5, 6],
  ])('%s', async (_what, range, start, end) => {
    const response = await get({ range })

    expect([response.status, response.headers.get('content-range')]).toEqual([206, `bytes ${start}-${end}/${SIZE}`])
    expect(response.headers.get('content-length')).toBe(String(end - start + 1))
    expect(digestOf(await bodyOf(response))).toBe(digestOf(bytes.subarray(start, end + 1)))
  })

  test('several as multipart/byteranges', async () => {
    const response = await get({ range: 'bytes=0-9, 100-109, -5' })

    const body = (await bodyOf(response)).toString('latin1')
    const boundary = response.headers.get('content-type')!.split('boundary=')[1]!
    const part = (start: number, end: number) =>
      `--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ${start}-${end}/${SIZE}\r\n\r\n` +
      `${bytes.subarray(start, end + 1).toString('latin1')}\r\n`
    expect(response.status).toBe(206)
    expect(response.headers.get('content-length')).toBe(String(body.length))
    expect(body).toBe(`${part(0, 9)}${part(100, 109)}${part(299_995, 299_999)}--${boundary}--\r\n`)
  })

  test.each([
    ['malformed', 'bytes=a-b'],
    ['another unit', 'lines=1-2'],
    ['too many', `bytes=${Array.from({ length: 65 }, (_, at) => `${at}-${at}`).join()}`],
    ['overlaps that come to more than the whole', 'bytes=0-,0-'],
  ])('%s is ignored', async (_what, range) => {
    const response = await get({ range })

    expect(response.status).toBe(200)
    expect(digestOf(await bodyOf(response))).toBe(digest)
  })

  test.each(['bytes=300000-', 'bytes=-0', 'bytes=9-5', 'bytes=300000-300001,400000-'])(
    '%s is 416, and nothing says that it may be kept',
    async (range) => {
      const response = await get({ range })

      expect([response.status, response.headers.get('content-range')]).toEqual([416, `bytes */${SIZE}`])
      expect(await response.json()).toMatchObject({ errors: [{ code: 'SIZE_INVALID' }] })
      const ofContent = ['cache-control', 'etag', 'x-cache', 'x-cache-source', 'docker-content-digest']
      expect(ofContent.filter((name) => response.headers.has(name))).toEqual([])
    },
  )

  test.each([
    ['the same bytes', () => `"${digest}"`, 206],
    ['other bytes', () => '"sha256:0"', 200],
    ['a date', () => 'Tue, 01 Jan 2030 00:00:00 GMT', 200],
  ])('If-Range with %s', async (_what, condition, status) => {
    const response = await get({ range: 'bytes=0-0', 'if-range': condition() })
    await bodyOf(response)

    expect(response.status).toBe(status)
  })
})

describe('If-None-Match', () => {
  test.each([
    ['the digest', () => `"${digest}"`, 304],
    ['it in a list, weak', () => `"a", W/"${digest}"`, 304],
    ['any', () => '*', 304],
    ['another', () => '"sha256:0"', 200],
  ])('%s', async (_case, tag, status) => {
    for (const method of ['GET', 'HEAD']) {
      const response = await get({ 'if-none-match': tag() }, method)

      expect([response.status, response.headers.get('etag')]).toEqual([status, `"${digest}"`])
      expect((await bodyOf(response)).length).toBe(status === 304 || method === 'HEAD' ? 0 : SIZE)
    }
  })
})

describe('what goes wrong in the middle', () => {
  test('a client that leaves releases the reader, even one that waits for bytes', async () => {
    source.waitAt = 100_000
    const socket = await served.open()
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    let got = 0
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length
    })
    await expect.poll(() => got).toBeGreaterThan(100_000)

    socket.destroy()

    await expect.poll(() => source.closed).toBe(1)
    await expect.poll(() => served.lines).toMatchObject([{ msg: 'request', level: 30, status: 200, aborted: true }])
    expect(served.told).toMatchObject([{ name: 'content.served', event: { outcome: 'miss', bytes: 100_000 } }])
  })

  test('a client that resets the connection just before a write has left, although it is the write that fails', async () => {
    source.waitAt = 100_000
    const socket = await served.open()
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    let got = 0
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length
    })
    await expect.poll(() => got).toBeGreaterThan(100_000)

    socket.resetAndDestroy()
    source.release()

    await expect.poll(() => served.lines).toMatchObject([{ msg: 'request', level: 30, status: 200, aborted: true }])
    expect(served.told).toMatchObject([{ name: 'content.served', event: { outcome: 'miss' } }])
  })

  test.each([
    ['of known length', false],
    ['of unknown length', true],
  ])('a reader that fails cuts the connection of a blob %s short of its end', async (_case, sizeless) => {
    source.sizeless = sizeless
    source.failAt = 100_000

    await expect(get().then(bodyOf)).rejects.toThrow()

    await expect.poll(() => source.closed).toBe(1)
    expect(served.lines).toMatchObject([
      { level: 40, msg: 'request failed', broken: true, reason: 'the bytes can no longer be had' },
    ])
    expect(served.told).toMatchObject([{ name: 'content.failed', event: { status: 200, bytes: 100_000 } }])
  })

  test.each([
    ['is reset where what was sent was wrong', new WrongBytesError(), ['ECONNRESET']],
    ['ends early where what was sent can be gone on from', new Error('nobody answers'), []],
  ])('the connection %s', async (_case, failure, errors) => {
    source.waitAt = 100_000
    source.failAt = 100_000
    source.failure = failure
    const socket = await served.open()
    const seen: (string | undefined)[] = []
    socket.on('error', (error: NodeJS.ErrnoException) => seen.push(error.code))
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    let got = 0
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length
    })
    await expect.poll(() => got).toBeGreaterThan(100_000)

    source.release()
    await readToClose(socket)

    expect(seen).toEqual(errors)
  })

  test('a blob of unknown length is refused to HTTP/1.0, where an end could not be told from a cut', async () => {
    source.sizeless = true

    const text = await served.raw(`GET ${path} HTTP/1.0\r\n\r\n`)

    expect(text).toMatch(/^HTTP\/1\.1 505 /)
    expect(source.closed).toBe(1)
  })

  test('nonsense after a request cuts the answer short: no other answer falls into it', async () => {
    source.waitAt = 100_000
    const socket = await served.open()
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    const answer = readToClose(socket)
    await expect.poll(() => socket.bytesRead).toBeGreaterThan(100_000)

    socket.write('\x16\x03\x01 nonsense\r\n\r\n')
    const text = await answer

    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
    await expect.poll(() => source.closed).toBe(1)
  })
})
