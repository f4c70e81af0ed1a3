import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { run } from '../helpers/process.js'

/**
 * Writes an image of one layer of `sizeBytes` random bytes, which no compression makes smaller, in skopeo's `dir:` layout.
 * Any client can unpack it.
 */
export async function writeRandomImage(folder: string, sizeBytes: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'random.bin'), randomBytes(sizeBytes))
  await run('tar', ['-cf', 'layer.tar', 'random.bin'], { cwd: folder })
  const tar = await readFile(join(folder, 'layer.tar'))
  await rm(join(folder, 'random.bin'))
  await rm(join(folder, 'layer.tar'))
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: {},
    history: [{ created_by: 'random bytes' }],
    rootfs: { type: 'layers', diff_ids: [sha256(tar)] },
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    config: await blob(folder, 'application/vnd.docker.container.image.v1+json', Buffer.from(JSON.stringify(config))),
    layers: [await blob(folder, 'application/vnd.docker.image.rootfs.diff.tar.gzip', gzipSync(tar, { level: 0 }))],
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
  await writeFile(join(folder, 'version'), 'Directory Transport Version: 1.1\n')
}

async function blob(folder: string, mediaType: string, bytes: Buffer) {
  const digest = sha256(bytes)
  await writeFile(join(folder, digest.slice('sha256:'.length)), bytes)
  return { mediaType, digest, size: bytes.length }
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
