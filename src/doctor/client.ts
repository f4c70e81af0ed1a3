import { request } from 'undici'
import { type Digest, digestFrom, digestOf, hasherFor, isDigest } from '../oci/digest.js'
import { childrenOf, MANIFEST_LIMIT, parseManifest } from '../oci/manifest.js'
import { MANIFEST_ACCEPT } from '../oci/media-types.js'

/** Something was not as it must be; the message says what was seen. */
export class CheckError extends Error {
  override readonly name = 'CheckError'
}

/** What was seen of one body. */
export interface Body {
  status: number
  headers: Record<string, string | string[] | undefined>
  bytes: number
  digest: Digest
  /** From sending the request to the first byte of the body, milliseconds. */
  firstByteMs: number
}

export interface Pulled {
  manifest: Digest
  /** Manifest, config and layers together. */
  bytes: number
  /** Of the first layer, milliseconds. */
  firstByteMs: number
  /** `X-Cache` of each blob. */
  outcomes: string[]
}

/** A client of a registry that checks everything it gets. */
export class RegistryCheck {
  readonly #base: string
  readonly #authorization: { authorization?: string } = {}

  /** @param base `http://host:port`, with `user:password@` where users sign in */
  constructor(base: string) {
    const [, scheme = '', account, rest = base] = /^(https?:\/\/)(?:([^/@]*)@)?(.*)$/i.exec(base) ?? []
    this.#base = scheme + rest.replace(/\/+$/, '')
    if (account === undefined) return
    const encoded = Buffer.from(decodeURIComponent(account)).toString('base64')
    this.#authorization = { authorization: `Basic ${encoded}` }
  }

  /** Pulls an image as dockerd does, HEAD of the tag first, and checks every digest. */
  async pull(repository: string, tag: string): Promise<Pulled> {
    const head = await this.#request('HEAD', `/v2/${repository}/manifests/${tag}`)
    expectStatus(head.statusCode, 200, `HEAD of ${repository}:${tag}`)
    const digest = String(head.headers['docker-content-digest'])
    if (!isDigest(digest)) throw new CheckError(`HEAD of ${repository}:${tag} names no digest`)
    const { bytes: manifest, type } = await this.#manifest(repository, digest)
    const blobs: Body[] = []
    for (const child of childrenOf(parseManifest(manifest, type))) blobs.push(await this.blob(repository, child))
    const largest = blobs.reduce((a, b) => (a.bytes > b.bytes ? a : b))
    return {
      manifest: digest,
      bytes: blobs.reduce((sum, { bytes }) => sum + bytes, manifest.length),
      firstByteMs: largest.firstByteMs,
      outcomes: blobs.map(({ headers }) => String(headers['x-cache'])),
    }
  }

  /** Reads a blob to its end and checks its digest. */
  async blob(repository: string, digest: Digest): Promise<Body> {
    const body = await this.read(`/v2/${repository}/blobs/${digest}`, digest)
    expectStatus(body.status, 200, `blob ${digest}`)
    if (body.digest !== digest) throw new CheckError(`blob ${digest} came as ${body.digest} (${body.bytes} bytes)`)
    return body
  }

  /** Reads whatever a path answers; the digest is of `like`'s algorithm. */
  async read(path: string, like: Digest, headers: Record<string, string> = {}): Promise<Body> {
    const startedAt = performance.now()
    const response = await this.#request('GET', path, headers)
    const hash = hasherFor(like)
    let bytes = 0
    let firstByteMs: number | undefined
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      firstByteMs ??= performance.now() - startedAt
      hash.update(chunk)
      bytes += chunk.length
    }
    const digest = digestFrom(hash, like.split(':')[0])
    return {
      status: response.statusCode,
      headers: response.headers,
      bytes,
      digest,
      firstByteMs: firstByteMs ?? performance.now() - startedAt,
    }
  }

  /** Pushes one blob and a manifest over it. @returns the manifest's digest */
  async push(repository: string, tag: string, content: Buffer): Promise<{ manifest: Digest; blob: Digest }> {
    const blob = await this.#pushBlob(repository, content)
    const config = Buffer.from('{}')
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: {
          mediaType: 'application/vnd.oci.empty.v1+json',
          digest: await this.#pushBlob(repository, config),
          size: config.length,
        },
        layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: blob, size: content.length }],
      }),
    )
    const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }
    const put = await this.#request('PUT', `/v2/${repository}/manifests/${tag}`, headers, manifest)
    await this.#expect(put, 201, `push of ${repository}:${tag}`)
    return { manifest: digestOf(manifest), blob }
  }

  async delete(repository: string, digest: Digest): Promise<void> {
    await this.#expect(
      await this.#request('DELETE', `/v2/${repository}/manifests/${digest}`),
      202,
      `deletion of ${digest}`,
    )
  }

  /** The JSON at a path. */
  async json(path: string): Promise<unknown> {
    const response = await this.#request('GET', path)
    expectStatus(response.statusCode, 200, path)
    return response.body.json()
  }

  async #pushBlob(repository: string, content: Buffer): Promise<Digest> {
    const digest = digestOf(content)
    const start = await this.#request('POST', `/v2/${repository}/blobs/uploads/`)
    await this.#expect(start, 202, `start of an upload to ${repository}`)
    const location = new URL(String(start.headers.location), this.#base)
    location.searchParams.set('digest', digest)
    const headers = { 'content-type': 'application/octet-stream' }
    await this.#expect(
      await this.#request('PUT', location.pathname + location.search, headers, content),
      201,
      `upload of ${digest}`,
    )
    return digest
  }

  async #manifest(repository: string, digest: Digest): Promise<{ bytes: Buffer; type: string }> {
    const response = await this.#request('GET', `/v2/${repository}/manifests/${digest}`)
    expectStatus(response.statusCode, 200, `manifest ${digest}`)
    const bytes = Buffer.from(await response.body.arrayBuffer())
    if (bytes.length > MANIFEST_LIMIT || digestOf(bytes) !== digest)
      throw new CheckError(`manifest ${digest} came as ${digestOf(bytes)}`)
    return { bytes, type: String(response.headers['content-type']) }
  }

  async #request(
    method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    headers: Record<string, string> = {},
    body?: Buffer,
  ) {
    const allHeaders = { accept: MANIFEST_ACCEPT, ...this.#authorization, ...headers }
    const options = { method, headers: allHeaders, ...(body ? { body } : {}) }
    return request(this.#base + path, options)
  }

  async #expect(response: Awaited<ReturnType<typeof request>>, status: number, what: string): Promise<void> {
    const text = await response.body.text()
    expectStatus(
      response.statusCode,
      status,
      `${what}${response.statusCode === status ? '' : ` (${text.slice(0, 300)})`}`,
    )
  }
}

function expectStatus(status: number, wanted: number, what: string): void {
  if (status !== wanted) throw new CheckError(`${what}: status ${status} instead of ${wanted}`)
}
