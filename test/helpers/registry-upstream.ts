import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Daemon } from './process.js'
import type { TokenService } from './token-service.js'

/** One of Debian's docker-registry processes over `storage`, asking for tokens of `tokens`; without them open to everybody. */
export class RegistryUpstream {
  readonly host: string
  readonly #daemon: Daemon

  private constructor(host: string, daemon: Daemon) {
    this.host = host
    this.#daemon = daemon
  }

  static async start(deps: {
    name: string
    folder: string
    storage: string
    /** Where it listens, on a free port. */
    address: string
    tokens?: TokenService
  }): Promise<RegistryUpstream> {
    const { name, folder, storage, address, tokens } = deps
    const host = `${address}:${await freePort(address)}`
    const file = join(folder, `${name}.yml`)
    await writeFile(
      file,
      [
        'version: 0.1',
        'log: { level: warn, accesslog: { disabled: true } }',
        `storage: { filesystem: { rootdirectory: ${storage} }, delete: { enabled: true } }`,
        `http: { addr: "${host}", relativeurls: true }`,
        ...(tokens ? [`auth: ${tokens.registryAuth}`] : []),
      ].join('\n'),
    )
    const daemon = Daemon.start('docker-registry', ['serve', file], { logFile: join(folder, `${name}.log`) })
    await daemon.until(() => answers(`http://${host}/v2/`))
    return new RegistryUpstream(host, daemon)
  }

  get url(): string {
    return `http://${this.host}`
  }

  get pid(): number {
    return this.#daemon.pid
  }

  async stop(): Promise<void> {
    await this.#daemon.stop()
  }
}

/** Whether anything answers, with whatever status. */
export async function answers(url: string): Promise<boolean> {
  try {
    await (await fetch(url)).body?.cancel()
    return true
  } catch {
    return false
  }
}

/** A port free at this moment; nobody else listens in the network namespace of the run. */
async function freePort(address: string): Promise<number> {
  const server = createServer().listen(0, address)
  await new Promise((resolve) => server.once('listening', resolve))
  const bound = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  return bound.port
}
