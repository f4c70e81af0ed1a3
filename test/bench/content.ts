import { createHash, randomBytes } from 'node:crypto'
import { link, mkdir, open, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MEDIA_TYPES } from '../../src/oci/media-types.js'
import type { Target } from './load.js'

export const MIB = 1024 * 1024
export const GIB = 1024 * MIB
const REPOSITORY = 'library/bench'
const LAYER = 'application/vnd.oci.image.layer.v1.tar'
const CONFIG = 'application/vnd.oci.image.config.v1+json'

/** A blob or a manifest: what a client asks for, and what must come. */
export interface Item extends Required<Pick<Target, 'path' | 'bytes' | 'sha256'>> {
  digest: string
}

/** An image: its manifest by tag and by digest, and what the manifest names. */
export interface Image {
  tag: string
  byTag: Item
  byDigest: Item
  blobs: Item[]
}

/** What the upstreams of a bench have, as files that nginx serves by their paths: `v2/library/bench/...` below `root`. */
export class Content {
  readonly root: string
  /** Of each manifest's path, for the header Docker-Content-Digest. */
  readonly manifests = new Map<string, string>()
  readonly #block = randomBytes(MIB)
  #made = 0

  constructor(root: string) {
    this.root = root
  }

  /** So many blobs of one size, all different, which no compression makes smaller. */
  async blobs(count: number, bytes: number): Promise<Item[]> {
    const items: Item[] = []
    for (let n = 0; n < count; n++) items.push(await this.blob(bytes))
    return items
  }

  blob(bytes: number): Promise<Item> {
    return this.#write(this.#random(bytes))
  }

  /** A tar archive with one file of so many bytes, which a client can unpack. */
  layer(bytes: number): Promise<Item> {
    const [head, end] = [tarHead('random.bin', bytes), Buffer.alloc(((512 - (bytes % 512)) % 512) + 1024)]
    const random = this.#random(bytes)
    function* archive() {
      yield head
      yield* random
      yield end
    }
    return this.#write(archive())
  }

  /** Different at each call. */
  *#random(bytes: number): Generator<Buffer> {
    for (let at = 0; at < bytes; at += MIB) {
      if (at === 0) this.#block.write(`blob ${this.#made++} `)
      yield this.#block.subarray(0, Math.min(MIB, bytes - at))
    }
  }

  async #write(parts: Iterable<Buffer>): Promise<Item> {
    const made = join(await this.#folder('blobs'), 'made')
    const file = await open(made, 'w')
    const hash = createHash('sha256')
    let bytes = 0
    for (const part of parts) {
      hash.update(part)
      await file.write(part)
      bytes += part.length
    }
    await file.close()
    return this.#place('blobs', made, { sha256: hash.digest('hex'), bytes })
  }

  /** An image of those layers, and of a config of its own. */
  async image(tag: string, layers: readonly Item[]): Promise<Image> {
    const described = layers.map(({ digest, bytes }) => ({ mediaType: LAYER, digest, size: bytes }))
    const config = await this.#text('blobs', configOf(tag, layers))
    const content = JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: CONFIG, digest: config.digest, size: config.bytes },
      layers: described,
    })
    const byDigest = await this.#text('manifests', content)
    const path = `/v2/${REPOSITORY}/manifests/${tag}`
    await link(join(this.root, byDigest.path), join(this.root, path))
    for (const each of [path, byDigest.path]) this.manifests.set(each, byDigest.digest)
    return { tag, byTag: { ...byDigest, path }, byDigest, blobs: [config, ...layers] }
  }

  async #text(kind: 'blobs' | 'manifests', text: string): Promise<Item> {
    const made = join(await this.#folder(kind), 'made')
    await writeFile(made, text)
    const sha256 = createHash('sha256').update(text).digest('hex')
    return this.#place(kind, made, { sha256, bytes: Buffer.byteLength(text) })
  }

  async #place(kind: string, made: string, { sha256, bytes }: { sha256: string; bytes: number }): Promise<Item> {
    const path = `/v2/${REPOSITORY}/${kind}/sha256:${sha256}`
    await rename(made, join(this.root, path))
    return { path, bytes, sha256, digest: `sha256:${sha256}` }
  }

  async #folder(kind: string): Promise<string> {
    const folder = join(this.root, 'v2', REPOSITORY, kind)
    await mkdir(folder, { recursive: true })
    return folder
  }
}

/** The header of a file in a tar archive (POSIX ustar). */
function tarHead(name: string, bytes: number): Buffer {
  const head = Buffer.alloc(512)
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`
  head.write(name, 0)
  head.write(`${octal(0o644, 7)}${octal(0, 7)}${octal(0, 7)}${octal(bytes, 11)}${octal(0, 11)}        0`, 100)
  head.write('ustar\x0000', 257)
  const sum = head.reduce((total, byte) => total + byte, 0)
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return head
}

/** What clients look at: a platform, and as many layers as the manifest has. */
function configOf(tag: string, layers: readonly Item[]): string {
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) }
  return JSON.stringify({ architecture: 'amd64', os: 'linux', config: { Labels: { tag } }, rootfs })
}
