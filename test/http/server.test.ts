import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test } from 'vitest'
import { MemorySource } from '../helpers/memory-source.js'
import { readToClose, type Served, type ServeOptions, serve } from './serve.js'

let served: Served
const source = new MemorySource()
const start = async (options: Partial<ServeOptions> = {}) => {
  served = await serve({ source, ...options })
  return served
}
afterEach(() => served.close())

/** The head and the error code of a raw answer. */
const outcomeOf = (text: string) => [Number(text.split(' ')[1]), /"code":"([A-Z_]+)"/.exec(text)?.[1]]
const ask = async (target: string, method = 'GET') =>
  outcomeOf(await served.raw(`${method} ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`))

/** Bytes that are in use. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

describe('targets', () => {
  const name300 = `${'a'.repeat(150)}/${'b'.repeat(149)}`
  const digest = `sha256:${'0'.repeat(64)}`

  test.each([
    ['a whole URL', 'http://mirror.example/v2/library/app/manifests/latest', 400, 'NAME_INVALID'],
    ['a whole URL elsewhere', 'http://mirror.example/nothing', 400, 'NAME_INVALID'],
    ['an escaped slash', '/v2/library%2fapp/manifests/latest', 400, 'NAME_INVALID'],
    ['an escape that is none', '/v2/library/%zz/manifests/latest', 400, 'UNSUPPORTED'],
    ['escaped dots', '/v2/%2e%2e/manifests/latest', 400, 'NAME_INVALID'],
    ['dots', '/v2/library/../app/manifests/latest', 400, 'NAME_INVALID'],
    ['dots to the outside', '/v2/../../etc/passwd', 400, 'NAME_INVALID'],
    ['an empty component', '/v2/library//app/manifests/latest', 400, 'NAME_INVALID'],
    ['upper case', '/v2/Library/app/manifests/latest', 400, 'NAME_INVALID'],
    ['a name of 300 characters', `/v2/${name300}/manifests/latest`, 400, 'NAME_INVALID'],
    ['a short digest', '/v2/library/app/blobs/sha256:abc', 400, 'DIGEST_INVALID'],
    ['a digest of no algorithm', `/v2/library/app/blobs/md5:${'0'.repeat(32)}`, 400, 'DIGEST_INVALID'],
    ['a digest in upper case', `/v2/library/app/manifests/${digest.toUpperCase()}`, 400, 'DIGEST_INVALID'],
    ['a tag of 129 characters', `/v2/library/app/manifests/${'t'.repeat(129)}`, 400, 'MANIFEST_INVALID'],
    ['an escaped colon is a colon', `/v2/library/app/blobs/${digest.replace(':', '%3A')}`, 404, 'BLOB_UNKNOWN'],
    ['a registry that is not configured', '/v2/quay.io/org/app/manifests/latest', 404, 'NAME_UNKNOWN'],
    ['no endpoint', '/v2/library/app/latest', 404, 'NAME_UNKNOWN'],
    ['nothing at all', '/nothing', 404, 'UNSUPPORTED'],
  ])('%s', async (_case, target, status, code) => {
    await start()

    expect(await ask(target)).toEqual([status, code])
  })

  test('of a path that was parsed nothing is kept of its query', async () => {
    await start({ access: false })
    const query = 'x'.repeat(15_000)
    const askAll = async (from: number, to: number) => {
      for (let n = from; n < to; n++) await fetch(`${served.url}/v2/library/app${n}/tags/list?${query}`)
    }
    await askAll(0, 100)
    const before = heapUsed()

    await askAll(100, 1100)

    expect(heapUsed() - before).toBeLessThan(8_000_000)
  })

  test.each([
    ['DELETE', '/v2/', 'GET, HEAD'],
    ['POST', '/v2/_catalog', 'GET, HEAD'],
    ['OPTIONS', '/v2/library/app/tags/list', 'GET, HEAD'],
    ['POST', '/stats', 'GET, HEAD'],
    ['DELETE', '/v2/local/app/tags/list', 'GET'],
    ['PATCH', '/v2/local/app/manifests/latest', 'GET, HEAD'],
  ])('%s %s is 405, with what is allowed', async (method, target, allow) => {
    await start()

    const response = await fetch(served.url + target, { method })

    expect([response.status, response.headers.get('allow')]).toEqual([405, allow])
    expect(await response.json()).toMatchObject({ errors: [{ code: 'UNSUPPORTED' }] })
  })

  test('F131: a push to what is mirrored is denied at once, and said where to push', async () => {
    await start()

    const response = await fetch(`${served.url}/v2/library/app/blobs/uploads/`, { method: 'POST' })

    expect(response.status).toBe(403)
    expect(await response.json()).toMatchObject({
      errors: [{ code: 'DENIED', message: expect.stringContaining('local/library/app') }],
    })
  })

  test('a HEAD that fails has no body', async () => {
    await start()

    const text = await served.raw(
      'HEAD /v2/library/app/manifests/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    )

    expect(text).toMatch(/^HTTP\/1\.1 404 /)
    expect(text.endsWith('\r\n\r\n')).toBe(true)
  })
})

describe('end-1: GET /v2/', () => {
  test.each([undefined, 'Basic YTpi', 'Bearer x.y.z', 'nonsense'])(
    '200 with Authorization %s',
    async (authorization) => {
      await start()

      for (const target of ['/v2/', '/v2', '/v2/?ns=docker.io']) {
        const response = await fetch(served.url + target, { headers: authorization ? { authorization } : {} })

        expect([response.status, response.headers.get('docker-distribution-api-version')]).toEqual([
          200,
          'registry/2.0',
        ])
        expect(response.headers.has('www-authenticate')).toBe(false)
      }
    },
  )
})

describe('manifests and lists', () => {
  test('a manifest comes as it is, and HEAD has the headers of GET', async () => {
    await start()
    const type = 'application/vnd.docker.distribution.manifest.v2+json'
    const digest = source.addManifest({ schemaVersion: 2 }, 'latest', { mediaType: type, warning: '110 - "old"' })
    const of = (response: Response) =>
      ['content-type', 'content-length', 'docker-content-digest', 'etag', 'x-cache', 'warning'].map((name) =>
        response.headers.get(name),
      )

    const get = await fetch(`${served.url}/v2/library/app/manifests/latest`)
    const head = await fetch(`${served.url}/v2/library/app/manifests/latest`, { method: 'HEAD' })

    expect(of(get)).toEqual([type, '19', digest, `"${digest}"`, 'hit', '110 - "old"'])
    expect(of(head)).toEqual(of(get))
    expect(await get.text()).toBe('{"schemaVersion":2}')
  })

  test('ns= that chose the registry is answered with OCI-Namespace', async () => {
    await start()

    const response = await fetch(`${served.url}/v2/library/app/tags/list?ns=docker.io`)

    expect(response.headers.get('oci-namespace')).toBe('docker.io')
    expect(await response.json()).toMatchObject({ name: 'library/app' })
  })

  test('the catalog is closed with everything else when pulling is not open', async () => {
    await start({ anonymous: [] })

    expect(await ask('/v2/_catalog')).toEqual([403, 'DENIED'])
    expect(await ask('/v2/library/app/tags/list')).toEqual([403, 'DENIED'])
  })
})

describe('connections', () => {
  const limits = { headersTimeoutMs: 200, checkIntervalMs: 50 }

  test('a TLS hello is answered in plain text and closed at once', async () => {
    await start()
    const hello = Buffer.from('16030100c8010000c40303', 'hex')

    const text = await served.raw(Buffer.concat([hello, Buffer.alloc(190)]))

    expect(text).toMatch(/^HTTP\/1\.1 400 .*this port speaks plain HTTP/s)
  })

  test.each([
    ['half a request', 'GET /v2/ HTTP/1.1\r\nHost: a\r\nX-'],
    ['silence', ''],
  ])('%s is closed when its time is over', async (_case, text) => {
    await start({ limits })

    expect(outcomeOf(await served.raw(text))).toEqual([408, 'UNSUPPORTED'])
  })

  test('an idle connection that was used is kept longer than that', async () => {
    await start({ limits })
    const socket = await served.open()
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    const request = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'
    socket.write(request)
    await expect.poll(() => text).toContain('"ok"')
    // Another connection, opened now, runs into its limit first.
    await served.raw('')

    socket.write(request)

    await expect.poll(() => text.match(/"ok"/g)).toHaveLength(2)
    socket.destroy()
  })

  test('a head that is too large is 431', async () => {
    await start()

    expect(
      outcomeOf(await served.raw(`GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`)),
    ).toEqual([431, 'UNSUPPORTED'])
  })

  test('a body that trickles in for longer than a head may take is waited for', async () => {
    await start({ limits })
    const socket = await served.open()
    const answer = readToClose(socket)
    socket.write(
      'POST /v2/library/app/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab',
    )
    await served.raw('')

    socket.write('cd')

    expect(outcomeOf(await answer)).toEqual([403, 'DENIED'])
  })
})
