import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, Daemon, type Finished, run } from '../helpers/process.js'

/** A containerd of its own, empty, in a network namespace, and the `ctr` that talks to it. */
export class Containerd {
  readonly #netns: string
  readonly #folder: string
  readonly #daemon: Daemon

  private constructor(netns: string, folder: string, daemon: Daemon) {
    this.#netns = netns
    this.#folder = folder
    this.#daemon = daemon
  }

  /** @param mirror `HOST:PORT` written to the hosts.toml of each of `registries` */
  static async start(deps: {
    netns: string
    folder: string
    mirror: string
    registries: string[]
  }): Promise<Containerd> {
    const { netns, folder, mirror, registries } = deps
    await mkdir(folder, { recursive: true })
    for (const registry of registries) await writeHosts(join(folder, 'certs.d', registry), registry, mirror)
    const config = join(folder, 'config.toml')
    await writeFile(config, ['version = 2', `root = "${folder}/root"`, `state = "${folder}/state"`].join('\n'))
    const daemon = Daemon.start('containerd', ['--config', config, '--address', `${folder}/containerd.sock`], {
      netns,
      logFile: join(folder, 'containerd.log'),
    })
    const containerd = new Containerd(netns, folder, daemon)
    await daemon.until(async () => (await containerd.attempt('version')).code === 0)
    return containerd
  }

  /** `ctr images pull` by hosts.toml. */
  pull(image: string, ...options: string[]): Promise<Finished> {
    return this.ctr(
      'images',
      'pull',
      '--hosts-dir',
      join(this.#folder, 'certs.d'),
      '--snapshotter',
      'native',
      ...options,
      image,
    )
  }

  /** Digest of the manifest or index that a name stands for. */
  async digestOf(image: string): Promise<string | undefined> {
    const { stdout } = await this.ctr('images', 'ls', `name==${image}`)
    return /sha256:[0-9a-f]{64}/.exec(stdout)?.[0]
  }

  ctr(...args: string[]): Promise<Finished> {
    return run('ctr', this.#args(args), { netns: this.#netns })
  }

  attempt(...args: string[]): Promise<Finished> {
    return attempt('ctr', this.#args(args), { netns: this.#netns })
  }

  stop(): Promise<number | string> {
    return this.#daemon.stop()
  }

  #args(args: string[]): string[] {
    return ['--address', `${this.#folder}/containerd.sock`, ...args]
  }
}

async function writeHosts(folder: string, registry: string, mirror: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const lines = [`server = "https://${registry}"`, `[host."http://${mirror}"]`, '  capabilities = ["pull", "resolve"]']
  await writeFile(join(folder, 'hosts.toml'), lines.join('\n'))
}
