import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeRandomImage } from './random-image.js'
import { AS_PUSHER, type Tools, tools } from './tools.js'

/** The static program that the small images hold and run (Debian's busybox-static). */
export const BUSYBOX = '/bin/busybox'

export interface SmallImage {
  /** `library/hello:latest` */
  name: string
  /** What running it prints. */
  says: string
  arch?: string
  format?: 'docker' | 'oci'
}

/** Makes images by buildah and skopeo and pushes them to one upstream. */
export class ImageBuilder {
  readonly #folder: string
  readonly #host: string
  readonly #tools: Tools

  private constructor(folder: string, host: string, made: Tools) {
    this.#folder = folder
    this.#host = host
    this.#tools = made
  }

  /** @param deps `host` is the upstream's `HOST:PORT` */
  static async start({ folder, host }: { folder: string; host: string }): Promise<ImageBuilder> {
    return new ImageBuilder(folder, host, await tools({ folder }))
  }

  /** One layer with a static program. */
  async small(image: SmallImage): Promise<void> {
    await this.#commit(image, `localhost/${image.name}`)
    await this.#push(image.name, image.format)
  }

  /** A manifest list of linux/amd64 and linux/arm64. */
  async platforms(name: string): Promise<void> {
    const { buildah } = this.#tools
    await buildah('manifest', 'create', 'list')
    for (const arch of ['amd64', 'arm64']) {
      await this.#commit({ name, says: `this is ${arch}`, arch }, `localhost/${arch}`)
      await buildah('manifest', 'add', '--arch', arch, 'list', `localhost/${arch}`)
    }
    const target = `docker://${this.#host}/${name}`
    await buildah('manifest', 'push', '--all', '--format', 'v2s2', '--tls-verify=false', ...AS_PUSHER, 'list', target)
  }

  /** The files of a tar archive as one layer. */
  async rootFs(name: string, archive: string): Promise<void> {
    const { buildah } = this.#tools
    const container = (await buildah('from', 'scratch')).stdout.trim()
    await buildah('add', container, archive, '/')
    await buildah('config', '--cmd', '["/bin/cat","/etc/debian_version"]', container)
    await buildah('commit', '--rm', '--format', 'docker', container, `localhost/${name}`)
    await this.#push(name)
  }

  /** One layer of random bytes. */
  async random(name: string, sizeBytes: number): Promise<void> {
    const folder = join(this.#folder, 'random')
    await writeRandomImage(folder, sizeBytes)
    const [, credentials = ''] = AS_PUSHER
    const target = `docker://${this.#host}/${name}`
    await this.#tools.skopeo('copy', '--dest-tls-verify=false', '--dest-creds', credentials, `dir:${folder}`, target)
    await rm(folder, { recursive: true })
  }

  async #commit({ says, arch = 'amd64', format = 'docker' }: SmallImage, local: string): Promise<void> {
    const { buildah } = this.#tools
    const container = (await buildah('from', 'scratch')).stdout.trim()
    await buildah('copy', container, BUSYBOX, '/bin/busybox')
    const command = JSON.stringify(['/bin/busybox', 'echo', says])
    await buildah('config', '--arch', arch, '--label', `says=${says}`, '--cmd', command, container)
    await buildah('commit', '--rm', '--format', format, container, local)
  }

  async #push(name: string, format: 'docker' | 'oci' = 'docker'): Promise<void> {
    const asFormat = format === 'docker' ? 'v2s2' : 'oci'
    const target = `docker://${this.#host}/${name}`
    await this.#tools.buildah(
      'push',
      '--format',
      asFormat,
      '--tls-verify=false',
      ...AS_PUSHER,
      `localhost/${name}`,
      target,
    )
  }
}
