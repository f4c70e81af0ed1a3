import { type Server, type ServerName, startEntrepot, startNginxCache, startRegistry } from './servers.js'
import type { Bench } from './stage.js'

/** Those that fetch from an upstream; `nginx` is proxy_cache here. */
export const PROXYING = ['entrepot', 'proxy', 'distribution', 'nginx'] as const satisfies readonly ServerName[]

/** One of them with an empty cache, which it keeps below `folder`, over one upstream. */
export function startProxying(bench: Bench, name: ServerName, at: { folder: string; remote: string }): Promise<Server> {
  switch (name) {
    case 'entrepot':
      return startEntrepot({ folder: at.folder, upstreams: [at.remote], node: bench.node })
    case 'nginx':
      return startNginxCache(at)
    case 'distribution':
      return startRegistry({ ...at, program: bench.programs.distribution })
    case 'proxy':
    case 'registry':
      return startRegistry({ ...at, program: 'docker-registry' })
  }
}
