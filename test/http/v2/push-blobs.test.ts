import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rename, rm, symlink } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../../src/oci/digest.js'
import { type LocalServer, startLocalServer, temporaryFolder } from '../../helpers/local-server.js'
import { digestOfBody, openRequest, type Pusher, pusher } from '../../helpers/push.js'

const DAY_MS = 24 * 3_600_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: LocalServer
let push: Pusher
let clock: number

async function start() {
  server = await startLocalServer(folder.path, { now: () => clock })
  push = pusher(server.url)
}

async function restart() {
  await server.kill()
  await start()
}

beforeEach(async () => {
  clock = Date.now()
  folder = await temporaryFolder()
  await start()
})

afterEach(async () => {
  await server.kill()
  await folder.remove()
})

const pull = (digest: string, repository = 'local/app') => push.send('GET', `/v2/${repository}/blobs/${digest}`)
const head = (digest: string, repository = 'local/app') => push.send('HEAD', `/v2/${repository}/blobs/${digest}`)
/** The same upload at the address that the server has after a restart. */
const here = (upload: URL) => new URL(upload.pathname, server.url)
const rangeOf = async (upload: URL) => (await push.send('GET', upload)).headers.get('range')
const leftOf = (name: string) => readdir(join(folder.path, name))

describe('end-4: POST /v2/<name>/blobs/uploads/', () => {
  test('begins an upload with a relative Location, a session and an empty range', async () => {
    const response = await push.send('POST', '/v2/local/app/blobs/uploads/')

    expect(response.status).toBe(202)
    const session = response.headers.get('docker-upload-uuid')
    expect(response.headers.get('location')).toBe(`/v2/local/app/blobs/uploads/${session}`)
    expect(response.headers.get('range')).toBe('0-0')
    expect(response.headers.get('content-length')).toBe('0')
  })

  test('F125: takes a whole blob in one request', async () => {
    const content = randomBytes(300_000)
    const digest = digestOf(content)

    const response = await push.send('POST', `/v2/local/app/blobs/uploads/?digest=${digest}`, { body: content })

    expect(response.status).toBe(201)
    expect(response.headers.get('location')).toBe(`/v2/local/app/blobs/${digest}`)
    expect(response.headers.get('docker-content-digest')).toBe(digest)
    expect(await digestOfBody(await pull(digest))).toBe(digest)
    expect(server.told).toEqual([
      { name: 'blob.pushed', event: { repository: 'local/app', digest, bytes: 300_000, mounted: false } },
    ])
    expect(await leftOf('uploads')).toEqual([])
  })

  test('a whole blob that does not match leaves nothing', async () => {
    const digest = digestOf(Buffer.from('something else'))

    const response = await push.send('POST', `/v2/local/app/blobs/uploads/?digest=${digest}`, { body: 'this' })

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] })
    expect((await head(digest)).status).toBe(404)
    expect(await leftOf('uploads')).toEqual([])
  })

  test('a whole blob that breaks off leaves no session', async () => {
    const target = new URL(`/v2/local/app/blobs/uploads/?digest=${digestOf(Buffer.from('x'))}`, server.url)
    const request = await openRequest('POST', target, { 'content-length': 1000 })
    request.write(randomBytes(500))
    await expect.poll(() => leftOf('uploads')).toHaveLength(2)

    request.destroy()

    await expect.poll(() => leftOf('uploads')).toEqual([])
  })

  test('an unknown digest algorithm is refused', async () => {
    const response = await push.send('POST', '/v2/local/app/blobs/uploads/?digest-algorithm=md5')

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] })
  })
})

describe('end-6: PUT /v2/<name>/blobs/uploads/<session>?digest=', () => {
  test('F125: takes the whole blob as its body', async () => {
    const content = randomBytes(200_000)
    const digest = digestOf(content)

    const response = await push.finish(await push.begin('local/app'), digest, content)

    expect(response.status).toBe(201)
    expect(response.headers.get('location')).toBe(`/v2/local/app/blobs/${digest}`)
    expect(await digestOfBody(await pull(digest))).toBe(digest)
  })

  test('the empty blob can be pushed', async () => {
    const digest = digestOf(Buffer.alloc(0))

    expect((await push.finish(await push.begin('local/app'), digest)).status).toBe(201)

    expect((await head(digest)).headers.get('content-length')).toBe('0')
    expect(await digestOfBody(await pull(digest))).toBe(digest)
  })

  test('F127: a digest that does not match is DIGEST_INVALID, shows nothing and ends the session', async () => {
    const upload = await push.begin('local/app')
    await push.patch(upload, randomBytes(1000))
    const wrong = digestOf(Buffer.from('wrong'))

    const response = await push.finish(upload, wrong)

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] })
    expect((await head(wrong)).status).toBe(404)
    expect((await push.send('GET', upload)).status).toBe(404)
    expect(await leftOf('uploads')).toEqual([])
    expect(await leftOf('.')).not.toContain('blobs')
  })

  test.each(['', '?digest=', '?digest=sha256:zz', '?digest=md5:00'])(
    '%j is DIGEST_INVALID and the session goes on',
    async (query) => {
      const upload = await push.begin('local/app')

      const response = await push.send('PUT', `${upload.pathname}${query}`, { body: 'abc' })

      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] })
      expect((await push.send('GET', upload)).status).toBe(204)
    },
  )

  test.each([
    ['announced at the start', '?digest-algorithm=sha512'],
    ['only named at the end', ''],
  ])('a sha512 digest %s is checked and kept', async (_case, query) => {
    const content = randomBytes(100_000)
    const digest = digestOf(content, 'sha512')
    const upload = await push.begin('local/app', query)
    await push.patch(upload, content)

    expect((await push.finish(upload, digest)).status).toBe(201)

    const pulled = Buffer.from(await (await pull(digest)).arrayBuffer())
    expect(digestOf(pulled, 'sha512')).toBe(digest)
  })

  test('F137: two clients that push the same blob both succeed, and one file is kept', async () => {
    const content = randomBytes(500_000)
    const digest = digestOf(content)
    const uploads = await Promise.all([push.begin('local/app'), push.begin('local/app')])

    const responses = await Promise.all(uploads.map((upload) => push.finish(upload, digest, content)))

    expect(responses.map(({ status }) => status)).toEqual([201, 201])
    expect(await digestOfBody(await pull(digest))).toBe(digest)
    expect(await leftOf(`blobs/sha256/${digest.slice(7, 9)}`)).toHaveLength(1)
  })
})

describe('end-5: PATCH /v2/<name>/blobs/uploads/<session>', () => {
  test('F125: chunks with Content-Range add up, each answered with the whole range', async () => {
    const content = randomBytes(250_000)
    const upload = await push.begin('local/app')

    const first = await push.patch(upload, content.subarray(0, 100_000), { 'content-range': '0-99999' })
    const second = await push.patch(upload, content.subarray(100_000), { 'content-range': '100000-249999' })

    expect([first.status, second.status]).toEqual([202, 202])
    expect([first.headers.get('range'), second.headers.get('range')]).toEqual(['0-99999', '0-249999'])
    expect(second.headers.get('location')).toBe(upload.pathname)
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
    expect(await digestOfBody(await pull(digestOf(content)))).toBe(digestOf(content))
  })

  test('a layer streamed without a length is taken', async () => {
    const content = randomBytes(3_000_000)
    const upload = await push.begin('local/app')
    const pieces = Array.from({ length: 30 }, (_, at) => content.subarray(at * 100_000, (at + 1) * 100_000))

    const response = await push.patch(upload, Readable.toWeb(Readable.from(pieces)))

    expect(response.headers.get('range')).toBe('0-2999999')
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
  })

  test('the last chunk may come with the final PUT', async () => {
    const content = randomBytes(250_000)
    const upload = await push.begin('local/app')
    await push.patch(upload, content.subarray(0, 200_000))

    expect((await push.finish(upload, digestOf(content), content.subarray(200_000))).status).toBe(201)

    expect(await digestOfBody(await pull(digestOf(content)))).toBe(digestOf(content))
  })

  test.each([
    ['that leaves a gap', '2000-2999'],
    ['that was sent before', '0-999'],
    ['that overlaps', '500-1499'],
    ['that is malformed', 'bytes 1000'],
    ['that runs backwards', '1000-900'],
  ])('F126: a chunk %s is 416 with the current range, and the upload goes on', async (_case, range) => {
    const content = randomBytes(2000)
    const upload = await push.begin('local/app')
    await push.patch(upload, content.subarray(0, 1000))

    const refused = await push.patch(upload, content.subarray(1000), { 'content-range': range })

    expect(refused.status).toBe(416)
    expect(refused.headers.get('range')).toBe('0-999')
    expect(refused.headers.get('location')).toBe(upload.pathname)
    expect(await refused.json()).toMatchObject({ errors: [{ code: 'BLOB_UPLOAD_INVALID' }] })
    expect((await push.patch(upload, content.subarray(1000), { 'content-range': '1000-1999' })).status).toBe(202)
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
  })

  test('a chunk of another length than its Content-Range is SIZE_INVALID and not taken', async () => {
    const upload = await push.begin('local/app')

    const response = await push.patch(upload, randomBytes(50), { 'content-range': '0-99' })

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ code: 'SIZE_INVALID' }] })
    expect(await rangeOf(upload)).toBe('0-0')
  })

  test('a streamed chunk is cut at the end of its Content-Range, and the connection still carries the answer', async () => {
    const content = randomBytes(2_000_000)
    const upload = await push.begin('local/app')
    const body = Readable.toWeb(Readable.from([content.subarray(0, 1_000_000), content.subarray(1_000_000)]))

    const response = await push.patch(upload, body, { 'content-range': '0-99999' })

    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ code: 'SIZE_INVALID' }] })
    expect(await rangeOf(upload)).toBe('0-99999')
  })

  test('a session is unknown in another repository', async () => {
    const upload = await push.begin('local/app')
    const elsewhere = new URL(upload.pathname.replace('local/app', 'local/other'), server.url)

    for (const response of [
      await push.patch(elsewhere, 'abc'),
      await push.send('GET', elsewhere),
      await push.send('DELETE', elsewhere),
      await push.finish(elsewhere, digestOf(Buffer.alloc(0))),
    ]) {
      expect(response.status).toBe(404)
      expect(await response.json()).toMatchObject({ errors: [{ code: 'BLOB_UPLOAD_UNKNOWN' }] })
    }
    expect((await push.send('GET', upload)).status).toBe(204)
  })
})

describe('end-13 and end-14: an upload asked for and cancelled', () => {
  test('its range is told', async () => {
    const upload = await push.begin('local/app')
    const empty = await push.send('GET', upload)
    await push.patch(upload, randomBytes(1234))

    const response = await push.send('GET', upload)

    expect([empty.status, empty.headers.get('range')]).toEqual([204, '0-0'])
    expect([response.status, response.headers.get('range')]).toEqual([204, '0-1233'])
    expect(response.headers.get('location')).toBe(upload.pathname)
    expect(response.headers.get('docker-upload-uuid')).toBe(upload.pathname.split('/').at(-1))
  })

  test('cancelled, it is gone with its bytes', async () => {
    const upload = await push.begin('local/app')
    await push.patch(upload, randomBytes(1000))

    expect((await push.send('DELETE', upload)).status).toBe(204)

    expect((await push.send('GET', upload)).status).toBe(404)
    expect((await push.send('DELETE', upload)).status).toBe(404)
    expect(await leftOf('uploads')).toEqual([])
  })

  test('after a day without a request it is given up, not before', async () => {
    const upload = await push.begin('local/app')
    await push.patch(upload, randomBytes(1000))

    clock += DAY_MS - 1000
    await server.registry.uploads.sweep()
    const before = await push.send('GET', upload)
    clock += DAY_MS + 1000
    await server.registry.uploads.sweep()
    const after = await push.send('GET', upload)

    expect([before.status, after.status]).toEqual([204, 404])
    expect(await leftOf('uploads')).toEqual([])
  })
})

describe('an upload that was interrupted', () => {
  test('F138: goes on after a dropped connection from the byte that the server names', async () => {
    const content = randomBytes(1_000_000)
    const upload = await push.begin('local/app')
    const dropped = await openRequest('PATCH', upload, { 'transfer-encoding': 'chunked' })
    dropped.write(content.subarray(0, 400_000))
    const part = join(folder.path, 'uploads', `${upload.pathname.split('/').at(-1)}.part`)
    await expect.poll(async () => (await server.driver.stat(part.slice(folder.path.length + 1)))?.size).toBe(400_000)

    dropped.destroy()

    expect(await rangeOf(upload)).toBe('0-399999')
    await push.patch(upload, content.subarray(400_000), { 'content-range': '400000-999999' })
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
    expect(await digestOfBody(await pull(digestOf(content)))).toBe(digestOf(content))
  })

  test('is taken over by a second request while the first hangs', async () => {
    const content = randomBytes(1_000_000)
    const upload = await push.begin('local/app')
    const hanging = await openRequest('PATCH', upload, { 'content-length': 1_000_000 })
    hanging.write(content.subarray(0, 300_000))
    const key = `uploads/${upload.pathname.split('/').at(-1)}.part`
    await expect.poll(async () => (await server.driver.stat(key))?.size).toBe(300_000)

    const response = await push.patch(upload, content.subarray(300_000), { 'content-range': '300000-999999' })

    expect(response.status).toBe(202)
    await hanging.gone
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
  })

  test('of several that hang, the last one goes on', async () => {
    const upload = await push.begin('local/app')
    const hanging = []
    for (let count = 0; count < 3; count++) {
      const request = await openRequest('PATCH', upload, { expect: '100-continue', 'content-length': 1000 })
      await once(request, 'continue')
      hanging.push(request)
    }

    const response = await push.patch(upload, 'the last one')

    expect([response.status, response.headers.get('range')]).toEqual([202, '0-11'])
    await Promise.all(hanging.map(({ gone }) => gone))
  })

  test('goes on after the server was killed', async () => {
    const content = randomBytes(600_000)
    const upload = await push.begin('local/app')
    await push.patch(upload, content.subarray(0, 250_000))

    await restart()

    expect(await rangeOf(here(upload))).toBe('0-249999')
    await push.patch(here(upload), content.subarray(250_000), { 'content-range': '250000-599999' })
    expect((await push.finish(here(upload), digestOf(content))).status).toBe(201)
    expect(await digestOfBody(await pull(digestOf(content)))).toBe(digestOf(content))
  })

  test('keeps its age and its digest algorithm over a restart', async () => {
    const content = randomBytes(1000)
    const upload = await push.begin('local/app', '?digest-algorithm=sha512')
    await push.patch(upload, content)

    await restart()

    expect((await push.finish(here(upload), digestOf(content, 'sha512'))).status).toBe(201)
  })

  test('halves of an upload, which a crash can leave, are cleared away at the start', async () => {
    const whole = await push.begin('local/app')
    const [record, part] = [await push.begin('local/app'), await push.begin('local/app')].map((upload) =>
      upload.pathname.split('/').at(-1),
    )
    await rm(join(folder.path, 'uploads', `${record}.part`))
    await rename(join(folder.path, 'uploads', `${part}.json`), join(folder.path, 'uploads', `${part}.json.new`))

    await restart()

    const session = whole.pathname.split('/').at(-1)
    expect((await leftOf('uploads')).sort()).toEqual([`${session}.json`, `${session}.part`])
  })
})

describe('a full disk', () => {
  test('is told with 507, and the upload goes on when there is room', async () => {
    const content = randomBytes(500_000)
    const upload = await push.begin('local/app')
    const part = join(folder.path, 'uploads', `${upload.pathname.split('/').at(-1)}.part`)
    await rename(part, `${part}.aside`)
    await symlink('/dev/full', part)

    const refused = await push.patch(upload, content)
    await rm(part)
    await rename(`${part}.aside`, part)

    expect(refused.status).toBe(507)
    expect(await refused.json()).toMatchObject({
      errors: [{ code: 'UNAVAILABLE', message: expect.stringContaining('disk is full') }],
    })
    expect(await rangeOf(upload)).toBe('0-0')
    await push.patch(upload, content)
    expect((await push.finish(upload, digestOf(content))).status).toBe(201)
    expect(await digestOfBody(await pull(digestOf(content)))).toBe(digestOf(content))
  })
})

describe('end-11: POST ?mount=&from=', () => {
  test('F129: mounts a blob that the other repository holds', async () => {
    const digest = await push.blob('local/base', randomBytes(5000))

    const response = await push.send('POST', `/v2/local/app/blobs/uploads/?mount=${digest}&from=local/base`)

    expect(response.status).toBe(201)
    expect(response.headers.get('location')).toBe(`/v2/local/app/blobs/${digest}`)
    expect(response.headers.get('docker-content-digest')).toBe(digest)
    expect(await digestOfBody(await pull(digest))).toBe(digest)
    expect(await leftOf('uploads')).toEqual([])
  })

  test.each([
    ['from a repository without the blob', '&from=local/empty'],
    ['from a repository that is not local', '&from=docker.io/library/alpine'],
    ['from a name that is none', '&from=NO..NAME'],
  ])('F129: %s it is 202 with an upload that works', async (_case, from) => {
    const content = randomBytes(5000)
    const digest = await push.blob('local/base', content)

    const response = await push.send('POST', `/v2/local/app/blobs/uploads/?mount=${digest}${from}`)

    expect(response.status).toBe(202)
    expect((await head(digest)).status).toBe(404)
    const upload = new URL(response.headers.get('location')!, server.url)
    expect((await push.finish(upload, digest, content)).status).toBe(201)
  })
})

test('a blob is only in the repository that it was pushed to', async () => {
  const digest = await push.blob('local/app', randomBytes(100))
  await push.blob('local/other', randomBytes(100))

  const [there, missing, nowhere] = [
    await pull(digest),
    await pull(digest, 'local/other'),
    await pull(digest, 'local/nowhere'),
  ]

  expect([there.status, missing.status, nowhere.status]).toEqual([200, 404, 404])
  expect(there.headers.get('x-cache')).toBeNull()
  expect(await missing.json()).toMatchObject({ errors: [{ code: 'BLOB_UNKNOWN' }] })
  expect(await nowhere.json()).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] })
})

test('a blob too large for memory is served whole and in ranges', async () => {
  const content = randomBytes(3_000_000)
  const digest = await push.blob('local/app', content)

  const whole = await pull(digest)
  const part = await push.send('GET', `/v2/local/app/blobs/${digest}`, { headers: { range: 'bytes=1000000-1999999' } })

  expect(await digestOfBody(whole)).toBe(digest)
  expect(part.status).toBe(206)
  expect(await digestOfBody(part)).toBe(digestOf(content.subarray(1_000_000, 2_000_000)))
})

test('a blob whose file is lost reads as absent, so that a push brings it back', async () => {
  const content = randomBytes(3_000_000)
  const digest = await push.blob('local/app', content)
  await rm(join(folder.path, 'blobs'), { recursive: true })

  expect([(await head(digest)).status, (await pull(digest)).status]).toEqual([404, 404])
  await push.blob('local/app', content)

  expect(await digestOfBody(await pull(digest))).toBe(digest)
})

test.each([
  ['an unknown upload', 'PATCH /v2/local/app/blobs/uploads/unknown'],
  ['a name that takes no pushes', 'POST /v2/elsewhere/app/blobs/uploads/'],
])('a body sent to %s is not reset under the client, and the connection is closed after it', async (_case, line) => {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  const closed = once(socket, 'close')
  const piece = randomBytes(1_000_000)
  const head = `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${8 * piece.length}\r\n\r\n`
  socket.write(head)
  const [answer] = (await once(socket, 'data')) as [Buffer]

  for (let sent = 0; sent < 8; sent++) {
    await new Promise<void>((resolve, reject) => socket.write(piece, (error) => (error ? reject(error) : resolve())))
  }

  expect(answer.toString()).toMatch(/^HTTP\/1\.1 404 /)
  expect(await closed).toEqual([false])
})

test('F134: Expect: 100-continue is answered before the body is sent', async () => {
  const upload = await push.begin('local/app')
  const request = await openRequest('PATCH', upload, { expect: '100-continue', 'content-length': 5 })
  await once(request, 'continue')

  request.end('hello')

  const [response] = (await once(request, 'response')) as [IncomingMessage]
  response.resume()
  expect([response.statusCode, response.headers.range]).toEqual([202, '0-4'])
})
