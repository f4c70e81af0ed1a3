import { once } from 'node:events'
import { request } from 'node:http'
import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'

type Body = NonNullable<RequestInit['body']>

/** Pushing as clients do, over real HTTP. */
export function pusher(url: string) {
  const at = (location: string | null) => new URL(location ?? '', url)
  const send = (method: string, path: string | URL, init: RequestInit & { duplex?: 'half' } = {}) =>
    fetch(new URL(path, url), { ...init, method, duplex: 'half' } as RequestInit)

  return {
    url,
    send,

    async begin(repository: string, query = ''): Promise<URL> {
      const response = await send('POST', `/v2/${repository}/blobs/uploads/${query}`)
      if (response.status !== 202) throw new Error(`the upload was answered ${response.status}`)
      return at(response.headers.get('location'))
    },

    patch: (upload: URL, body: Body, headers: Record<string, string> = {}) => send('PATCH', upload, { body, headers }),

    finish(upload: URL, digest: string, body?: Body) {
      const target = new URL(upload)
      target.searchParams.set('digest', digest)
      return send('PUT', target, body === undefined ? {} : { body })
    },

    async blob(repository: string, content: Uint8Array): Promise<Digest> {
      const digest = digestOf(content)
      const response = await send('POST', `/v2/${repository}/blobs/uploads/?digest=${digest}`, {
        body: content as Body,
      })
      if (response.status !== 201) throw new Error(`the blob was answered ${response.status}`)
      return digest
    },

    manifest: (
      repository: string,
      reference: string,
      content: string | Uint8Array,
      type: string = MEDIA_TYPES.ociManifest,
    ) =>
      send('PUT', `/v2/${repository}/manifests/${reference}`, {
        body: content as Body,
        headers: { 'content-type': type },
      }),
  }
}

export type Pusher = ReturnType<typeof pusher>

/** An image of `layers` with its config, pushed but for the manifest, which is returned as it is to be put. */
export async function pushContents(push: Pusher, repository: string, layers: string[], extra: object = {}) {
  const describe = async (mediaType: string, text: string) => {
    const content = Buffer.from(text)
    return { mediaType, digest: await push.blob(repository, content), size: content.length }
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: await describe('application/vnd.oci.image.config.v1+json', '{"architecture":"amd64","os":"linux"}'),
    layers: await Promise.all(layers.map((layer) => describe('application/vnd.oci.image.layer.v1.tar', layer))),
    ...extra,
  }
  return Buffer.from(JSON.stringify(manifest))
}

/** A request whose body is written by hand, so that it can stall or be cut; `gone` resolves when it is over. */
export async function openRequest(method: string, url: URL, headers: Record<string, string | number> = {}) {
  const outgoing = request(url, { method, headers, agent: false })
  outgoing.flushHeaders()
  const [socket] = await once(outgoing, 'socket')
  if (socket.connecting) await once(socket, 'connect')
  // Cut on purpose, here or by the server.
  outgoing.on('error', () => {})
  const closed = new Promise<void>((resolve) => outgoing.once('close', resolve))
  return Object.assign(outgoing, { gone: closed })
}

export async function digestOfBody(response: Response): Promise<Digest> {
  return digestOf(new Uint8Array(await response.arrayBuffer()))
}
