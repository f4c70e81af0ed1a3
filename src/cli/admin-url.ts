import type { Config } from '../config/config.js'

/** Where the server of a configuration is asked from this machine. */
export function adminUrl({ server: { host, port } }: Pick<Config, 'server'>): string {
  const near = new Map([
    ['0.0.0.0', '127.0.0.1'],
    ['::', '[::1]'],
  ])
  return `http://${near.get(host) ?? (host.includes(':') ? `[${host}]` : host)}:${port}`
}
