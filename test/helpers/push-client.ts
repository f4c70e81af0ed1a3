import { type Digest, digestOf } from '../../src/oci/digest.js'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { Random } from './chaos.js'
import { type Pusher, pusher } from './push.js'
import type { OpenUpload, PushLedger } from './push-ledger.js'

const SIZES = [7, 900, 40_000, 300_000, 1_500_000]
const CHUNK = 200_000

/** One client that pushes images without end, in every way that there is, and notes what it was told. */
export class PushClient {
  readonly #push: Pusher
  readonly #random: Random
  readonly #ledger: PushLedger
  readonly #name: string
  readonly #common: readonly Buffer[]
  #images = 0

  /** @param options.common layers that other clients push at the same time */
  constructor(options: { url: string; name: string; random: Random; ledger: PushLedger; common: readonly Buffer[] }) {
    this.#push = pusher(options.url)
    this.#random = options.random
    this.#ledger = options.ledger
    this.#name = options.name
    this.#common = options.common
  }

  /** Ends by the error of the first request that was not answered well. */
  async run(): Promise<never> {
    for (;;) await this.#image(`local/${this.#random.of(['app', 'team/web', 'team/job'])}`)
  }

  async #image(repository: string): Promise<void> {
    const layers = [this.#random.of(this.#common), this.#random.bytes(this.#random.of(SIZES))]
    const config = Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', made: `${this.#name} ${this.#images}` }),
    )
    const contents = [config, ...layers]
    for (const content of contents) await this.#blob(repository, content)
    const described = contents.map((content, at) => ({
      mediaType: at === 0 ? 'application/vnd.oci.image.config.v1+json' : 'application/vnd.oci.image.layer.v1.tar',
      digest: digestOf(content),
      size: content.length,
    }))
    const [first, ...rest] = described
    const manifest = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: first, layers: rest }),
    )
    // Its own tags, since of two clients that move the same tag nobody knows who was last.
    const tag = `${this.#name}-${this.#random.below(4)}`
    await this.#manifest(
      repository,
      tag,
      manifest,
      described.map(({ digest }) => digest),
    )
    if (this.#random.next() < 0.15) await this.#untag(repository, tag)
    this.#images++
  }

  async #manifest(repository: string, tag: string, bytes: Buffer, children: Digest[]): Promise<void> {
    const digest = digestOf(bytes)
    await this.#ledger.tag(repository, tag, digest, () =>
      this.#ledger.content('manifests', { repository, digest, children }, async () =>
        expectStatus(await this.#push.manifest(repository, tag, bytes), 201),
      ),
    )
  }

  async #untag(repository: string, tag: string): Promise<void> {
    const path = `/v2/${repository}/manifests/${tag}`
    await this.#ledger.tag(repository, tag, 'absent', async () =>
      expectStatus(await this.#push.send('DELETE', path), 202),
    )
  }

  async #blob(repository: string, bytes: Buffer): Promise<void> {
    const digest = digestOf(bytes)
    const way = this.#random.of([this.#whole, this.#inOnePut, this.#inChunks, this.#inChunks, this.#mount])
    const pushed = { repository, digest, children: [] }
    await this.#ledger.content('blobs', pushed, () => way.call(this, repository, bytes, digest))
  }

  async #whole(repository: string, bytes: Buffer): Promise<void> {
    await this.#push.blob(repository, bytes)
  }

  async #inOnePut(repository: string, bytes: Buffer, digest: Digest): Promise<void> {
    const upload = await this.#push.begin(repository)
    expectStatus(await this.#push.finish(upload, digest, bytes as unknown as string), 201)
  }

  async #inChunks(repository: string, bytes: Buffer, digest: Digest): Promise<void> {
    const { pathname } = await this.#push.begin(repository)
    const upload: OpenUpload = { repository, location: pathname, bytes, acknowledged: 0 }
    this.#ledger.uploads.add(upload)
    await this.continue(upload)
    expectStatus(await this.#push.finish(this.#url(upload), digest), 201)
    this.#ledger.uploads.delete(upload)
  }

  /** Sends what is missing of an upload, from what was acknowledged. */
  async continue(upload: OpenUpload): Promise<void> {
    const { bytes } = upload
    while (upload.acknowledged < bytes.length) {
      const chunk = bytes.subarray(upload.acknowledged, upload.acknowledged + CHUNK)
      const end = upload.acknowledged + chunk.length
      const headers = { 'content-range': `${upload.acknowledged}-${end - 1}` }
      expectStatus(await this.#push.patch(this.#url(upload), chunk as unknown as string, headers), 202)
      upload.acknowledged = end
    }
  }

  /** From another repository, where somebody may just push it; else it is uploaded. */
  async #mount(repository: string, bytes: Buffer, digest: Digest): Promise<void> {
    const from = this.#random.of(['local/app', 'local/team/web', 'local/team/job'])
    const path = `/v2/${repository}/blobs/uploads/?mount=${digest}&from=${from}`
    const response = await this.#push.send('POST', path)
    await response.arrayBuffer()
    if (response.status === 201) return
    expectStatus(response, 202)
    const upload = new URL(response.headers.get('location')!, this.#push.url)
    expectStatus(await this.#push.finish(upload, digest, bytes as unknown as string), 201)
  }

  #url({ location }: OpenUpload): URL {
    return new URL(location, this.#push.url)
  }
}

function expectStatus({ status, url }: Response, wanted: number): void {
  if (status !== wanted) throw new WrongStatusError(`${url} was answered ${status}, not ${wanted}`)
}

/** It answered, but not as it must. */
export class WrongStatusError extends Error {
  override readonly name = 'WrongStatusError'
}
