import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Logger } from 'pino'
import { type App, buildApp, StorageError } from '../app.js'
import type { Config } from '../config/config.js'
import { ConfigError, DEFAULT_FILE, loadConfig } from '../config/load.js'
import { printBytes } from '../lib/units.js'
import { createLog } from './log.js'
import { Hangup, Reloader } from './reload.js'

export interface ServeOptions {
  file: string | undefined
  env: NodeJS.ProcessEnv
  cwd: string
}

/**
 * `entrepot serve`: runs the server until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP has the file read again.
 *
 * @returns the exit code: 0 stopped in order, 1 could not start
 */
export async function serve(options: ServeOptions): Promise<number> {
  try {
    const { config, file } = loadConfig(options)
    const hangup = new Hangup()
    const { log, setLevel } = createLog(config.log.level)
    const app = await buildApp(config, log)
    const address = await listen(app, config)
    announce(config, file, address, log)
    // What was read at the start must still be there: it may be missing for a moment only, while it is replaced.
    const again = { ...options, file: options.file ?? (file && DEFAULT_FILE) }
    const apply = (next: Config) => {
      app.apply(next)
      setLevel(next.log.level)
      warnOfOpenPushes(next, log)
    }
    const reloader = new Reloader({ config, load: () => loadConfig(again).config, apply, log })
    hangup.does(() => reloader.reload())
    await stopSignal(log)
    hangup.does(() => log.info('stopping: the configuration is not read again'))
    await app.close()
    log.info('stopped')
    return 0
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof StorageError || error instanceof ListenError)) throw error
    console.error(error instanceof ConfigError ? error.message : `entrepot: ${error.message}`)
    return 1
  }
}

/** The address cannot be listened on; the message says why and what to change. */
class ListenError extends Error {
  override readonly name = 'ListenError'
}

async function listen(app: App, { server: { host, port } }: Config): Promise<AddressInfo> {
  try {
    return await app.listen()
  } catch (cause) {
    await app.close()
    const { code, message } = cause as NodeJS.ErrnoException
    const why =
      { EADDRINUSE: 'it is in use', EACCES: 'no permission', EADDRNOTAVAIL: 'this machine has no such address' }[
        code ?? ''
      ] ?? message
    throw new ListenError(`cannot listen on ${host}:${port}: ${why}; set server.listen to another address`, { cause })
  }
}

/** Where it listens, what it mirrors, and the lines that point dockerd here: for a person, beside the log. */
function announce(config: Config, file: string | undefined, { address, port, family }: AddressInfo, log: Logger): void {
  const { storage, registries, local } = config
  const shown = family === 'IPv6' && address !== '::' ? `[${address}]` : address
  log.info(
    {
      listen: `${shown}:${port}`,
      config: file ?? 'built-in defaults',
      storage: storage.path,
      registries: registries.map(({ name }) => name),
      pid: process.pid,
    },
    'listening',
  )
  const host = `${reachable(address)}:${port}`
  const mirrored = registries.find((registry) => registry.default)!.name
  const lines = [
    `entrepot listens on http://${shown}:${port}`,
    `  mirrors  ${registries.map(({ name }) => (name === mirrored ? `${name} (default)` : name)).join(', ')}`,
    `  keeps    up to ${printBytes(storage.maxSizeBytes)} in ${storage.path}`,
    `  pushes   to ${local.namespaces.map((namespace) => `${host}/${namespace}/...`).join(', ')}`,
    'For Docker, in /etc/docker/daemon.json:',
    `  "registry-mirrors": ["http://${host}"],`,
    `  "insecure-registries": ["${host}"]`,
  ]
  process.stderr.write(`${lines.join('\n')}\n`)
  warnOfOpenPushes(config, log)
}

function warnOfOpenPushes({ auth }: Config, log: Logger): void {
  const opened = auth?.anonymous.filter((action) => action !== 'pull') ?? []
  if (opened.length > 0)
    log.warn(
      `auth.anonymous holds ${opened.join(' and ')}: everybody who reaches this port may ${opened.join(' and ')}`,
    )
}

/** An address that other machines can use, when it listens on all. */
function reachable(address: string): string {
  if (address !== '0.0.0.0' && address !== '::') return address.includes(':') ? `[${address}]` : address
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((entry) => entry?.family === 'IPv4' && !entry.internal)
  return outside?.address ?? '127.0.0.1'
}

function stopSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(1)
      stopping = true
      log.info({ signal }, 'stopping: running transfers may end, a second signal ends them now')
      resolve()
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}
