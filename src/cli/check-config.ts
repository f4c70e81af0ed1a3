import type { Config, RegistryConfig } from '../config/config.js'
import { ConfigError, DEFAULT_FILE, type LoadOptions, loadConfig } from '../config/load.js'

export interface CheckConfigOptions extends LoadOptions {
  /** Takes the report, a line at a time, without line ends. */
  out: (line: string) => void
  /** Takes the faults. */
  err: (line: string) => void
}

/**
 * `entrepot check`: says whether a configuration is good, and everything that is wrong with it.
 *
 * @returns the exit code: 0 good, 1 with faults
 */
export function checkConfig({ file, env, cwd, out, err }: CheckConfigOptions): number {
  try {
    const loaded = loadConfig({ file, env, cwd })
    const name = file ?? (loaded.file === undefined ? '(built-in defaults)' : DEFAULT_FILE)
    for (const line of report(name, loaded.config)) out(line)
    return 0
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    err(error.message)
    return 1
  }
}

function report(name: string, { registries }: Config): string[] {
  const upstreams = registries.reduce((sum, registry) => sum + registry.upstreams.length, 0)
  const totals = `${count(registries.length, 'registry', 'registries')}, ${count(upstreams, 'upstream', 'upstreams')}`
  return [`${name}: ok (${totals})`, ...registries.map(describe)]
}

function describe({ name, default: isDefault, upstreams }: RegistryConfig): string {
  const list = upstreams.map((upstream) => `${upstream.name} (${upstream.role})`).join(', ')
  return `  ${name}${isDefault ? ', the default' : ''}: ${list}`
}

function count(amount: number, one: string, many: string): string {
  return `${amount} ${amount === 1 ? one : many}`
}
