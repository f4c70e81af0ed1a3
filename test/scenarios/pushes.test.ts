import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as forward } from 'node:http'
import { createServer, request as secure } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import { Authority } from '../helpers/certificates.js'
import { registry, startMirror } from '../helpers/mirror.js'
import { digestOfBody, pushContents, pusher } from '../helpers/push.js'
import { type BuiltInUpstream, closeAll, closing, startUpstream } from '../helpers/upstream.js'

afterEach(closeAll)

async function start(hub: BuiltInUpstream) {
  return startMirror({
    registries: { 'docker.io': registry([{ name: 'hub', url: hub.url, role: 'origin' }]) },
    settings: { auth: { anonymous: ['pull', 'push'] } },
  })
}

/** Ends TLS and passes everything on as it came, without a word of its own. */
async function startTlsProxy(target: string, authority: Authority): Promise<number> {
  const server = createServer(authority.issue('127.0.0.1'), (incoming, outgoing) => {
    const { method, url, headers } = incoming
    const onward = forward(new URL(url ?? '', target), { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(outgoing)
    })
    incoming.pipe(onward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing({
    close: async () => {
      server.closeAllConnections()
      server.close()
    },
  })
  return (server.address() as AddressInfo).port
}

test('F128: a push through a proxy that ends TLS on another port, without X-Forwarded headers', async () => {
  const mirror = await start(await startUpstream())
  const authority = new Authority()
  const port = await startTlsProxy(mirror.url, authority)
  const send = async (method: string, location: string, body?: Buffer) => {
    // As a client does: what it was answered, against what it asked.
    const target = new URL(location, `https://127.0.0.1:${port}`)
    expect(target.port).toBe(String(port))
    const asked = secure(target, { method, ca: authority.cert, agent: false }).end(body)
    const [answer] = await once(asked, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of answer) chunks.push(chunk)
    return { status: answer.statusCode, location: answer.headers.location, body: Buffer.concat(chunks) }
  }
  const content = randomBytes(300_000)
  const digest = digestOf(content)

  const begun = await send('POST', '/v2/local/app/blobs/uploads/')
  const patched = await send('PATCH', begun.location, content)
  const finished = await send('PUT', `${patched.location}?digest=${digest}`)
  const pulled = await send('GET', finished.location)

  expect([begun, patched, finished, pulled].map(({ status }) => status)).toEqual([202, 202, 201, 200])
  expect(digestOf(pulled.body)).toBe(digest)
})

test('F136: a local tag needs no upstream, and no upstream image of the same name is taken for it', async () => {
  const hub = await startUpstream()
  const mirror = await start(hub)
  const push = pusher(mirror.url)
  const manifest = await pushContents(push, 'local/app', ['one'])
  await push.manifest('local/app', 'latest', manifest)
  const asked = hub.asked.length

  const pulled = await push.send('GET', '/v2/local/app/manifests/latest')
  const absent = await push.send('GET', '/v2/local/app/manifests/absent')

  expect([pulled.status, await digestOfBody(pulled)]).toEqual([200, digestOf(manifest)])
  expect(pulled.headers.get('content-type')).toBe(MEDIA_TYPES.ociManifest)
  expect(absent.status).toBe(404)
  expect(hub.asked.length).toBe(asked)
})
