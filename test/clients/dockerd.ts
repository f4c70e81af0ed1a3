import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, Daemon, type Finished, run } from '../helpers/process.js'

/** A Docker daemon of its own (with its own containerd), empty, in a network namespace; everything of it under `folder`. */
export class Dockerd {
  readonly netns: string | undefined
  readonly daemon: Daemon
  readonly #folder: string

  private constructor(netns: string | undefined, folder: string, daemon: Daemon) {
    this.netns = netns
    this.#folder = folder
    this.daemon = daemon
  }

  /** @param netns absent: this process's own @param mirror `HOST:PORT` set as `registry-mirrors`, and as an insecure registry so that it can be pushed to */
  static async start({ netns, folder, mirror }: { netns?: string; folder: string; mirror: string }): Promise<Dockerd> {
    await mkdir(folder, { recursive: true })
    const file = join(folder, 'daemon.json')
    await writeFile(file, JSON.stringify({ 'registry-mirrors': [`http://${mirror}`], 'insecure-registries': [mirror] }))
    const daemon = Daemon.start(
      'dockerd',
      [
        ...['--config-file', file, '--host', `unix://${folder}/docker.sock`, '--pidfile', join(folder, 'docker.pid')],
        ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec'), '--storage-driver', 'vfs'],
        ...['--iptables=false', '--ip6tables=false', '--bridge=none'],
      ],
      { netns, logFile: join(folder, 'dockerd.log') },
    )
    const dockerd = new Dockerd(netns, folder, daemon)
    await daemon.until(async () => (await dockerd.attempt('version')).code === 0)
    return dockerd
  }

  /** Runs the docker command line; an exit code other than 0 is an error. */
  docker(...args: string[]): Promise<Finished> {
    return run('docker', this.#args(args), this.#options())
  }

  attempt(...args: string[]): Promise<Finished> {
    return attempt('docker', this.#args(args), this.#options())
  }

  /** One field of `docker image inspect`, by a Go template. */
  async inspect(image: string, template: string): Promise<string> {
    return (await this.docker('image', 'inspect', '--format', template, image)).stdout.trim()
  }

  stop(): Promise<number | string> {
    return this.daemon.stop()
  }

  #args(args: string[]): string[] {
    return ['--host', `unix://${this.#folder}/docker.sock`, ...args]
  }

  #options() {
    return { netns: this.netns, env: { DOCKER_CONFIG: this.#folder } }
  }
}
