import type { Logger } from 'pino'
import type { Config } from '../config/config.js'
import { ConfigError } from '../config/load.js'
import { planReload } from '../config/reload.js'

export interface ReloaderDeps {
  /** The configuration that is in effect. */
  config: Config
  /** Reads the file anew. @throws {ConfigError} */
  load: () => Config
  /** Puts a configuration into effect; what takes a restart is in it as it was. */
  apply: (config: Config) => void
  log: Logger
}

/** Reads the configuration again on demand: a good one is put into effect as far as it can be, a faulty one changes nothing. */
export class Reloader {
  readonly #deps: ReloaderDeps
  #config: Config

  constructor(deps: ReloaderDeps) {
    this.#deps = deps
    this.#config = deps.config
  }

  /** Done when it returns; what goes wrong is logged. */
  reload(): void {
    const { log } = this.#deps
    try {
      this.#take(this.#deps.load())
    } catch (error) {
      if (error instanceof ConfigError) this.#refuse(error)
      // Whoever asked for it must not lose the server.
      else log.error({ err: error }, 'reading the configuration again failed')
    }
  }

  #take(wanted: Config): void {
    const { log, apply } = this.#deps
    const { config, restart, ...changes } = planReload(this.#config, wanted)
    apply(config)
    this.#config = config
    if (restart.length > 0) log.warn({ keys: restart }, 'these keys have changed and take a restart')
    const changed = Object.entries(changes).filter(([, names]) => names.length > 0)
    if (changed.length === 0) log.info('configuration read again: nothing has changed')
    else log.info(Object.fromEntries(changed), 'configuration reloaded')
  }

  #refuse({ faults }: ConfigError): void {
    const { log } = this.#deps
    for (const { file, line, column, entry, message } of faults)
      log.error({ at: `${file}:${line}:${column}`, upstream: entry, reason: message }, 'fault in the configuration')
    log.error({ faults: faults.length }, 'configuration not reloaded: the one before stays in effect')
  }
}

/** SIGHUP, which ends a process that does not listen: from the start on it is listened to, and dealt with when there is somebody to. */
export class Hangup {
  #work: (() => void) | undefined
  #came = false

  constructor() {
    process.on('SIGHUP', () => {
      this.#came = true
      this.#deal()
    })
  }

  /** Has `work` done at each SIGHUP, and for those that have come before, once. */
  does(work: () => void): void {
    this.#work = work
    if (this.#came) this.#deal()
  }

  #deal(): void {
    if (!this.#work) return
    this.#came = false
    this.#work()
  }
}
